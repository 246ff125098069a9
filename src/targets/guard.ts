import { QGraphError } from "../diagnostics.js";
import type { Finding } from "./check-model.js";
import { type Target, targetName } from "./target.js";

/** Why a model that `checkModel` finds this of is not to be written: it would not run, or not right. undefined: it may be. */
export function refusalOf(findings: readonly Finding[], target: Target): QGraphError | undefined {
	const illegal = findings.filter(({ consequence }) => consequence !== "slow");
	const [first] = illegal;
	if (first === undefined) return undefined;
	const more = illegal.length > 1 ? ` (and ${illegal.length - 1} more)` : "";
	return new QGraphError(
		"target/illegal",
		`${targetName(target)} would not run the result right: '${first.node}': ${first.message} [${first.rule}]${more}; nothing was written`,
		{ graph: first.graph, node: first.node },
	);
}
