import { QGraphError } from "../diagnostics.js";
import type { Finding } from "./check-model.js";
import { type Target, targetName } from "./target.js";

/** So many operators are named in the message. */
const NAMED = 100;

/** Why a model that `checkModel` finds this of is not to be written: it would not run, or not right. undefined: it may be. */
export function refusalOf(findings: readonly Finding[], target: Target): QGraphError | undefined {
	const illegal = findings.filter(({ consequence }) => consequence !== "slow");
	const [first] = illegal;
	if (first === undefined) return undefined;
	const others = illegal.slice(1, NAMED).map(({ node, rule }) => `'${node}' [${rule}]`);
	const more = illegal.length > NAMED ? ` and ${illegal.length - NAMED} more` : "";
	const also = others.length === 0 ? "" : `; nor would ${others.join(", ")}${more}`;
	return new QGraphError(
		"target/illegal",
		`${targetName(target)} would not run the result right: '${first.node}': ${first.message} [${first.rule}]${also}; nothing was written`,
		{ graph: first.graph, node: first.node },
	);
}
