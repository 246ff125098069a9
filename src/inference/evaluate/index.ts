import { isStandardDomain, type OpId } from "../../ir/node.js";
import type { Evaluator } from "../operator-call.js";
import { ELEMENTWISE_EVALUATORS } from "./elementwise.js";
import { MOVEMENT_EVALUATORS } from "./movement.js";

/** Of an unknown input these still tell a part of the result. */
const TAKE_UNKNOWN = new Set(["Concat"]);

const EVALUATORS: ReadonlyMap<string, Evaluator> = new Map(
	Object.entries({ ...ELEMENTWISE_EVALUATORS, ...MOVEMENT_EVALUATORS }).map(([name, evaluator]) => [
		name,
		TAKE_UNKNOWN.has(name) ? evaluator : whereKnown(evaluator),
	]),
);

function whereKnown(evaluator: Evaluator): Evaluator {
	return (call, result) => (call.hasElements() ? evaluator(call, result) : undefined);
}

/** How to compute the output of an operator from small inputs; undefined for one whose results are no shapes. */
export function evaluatorOf({ domain, type }: OpId): Evaluator | undefined {
	return isStandardDomain(domain) ? EVALUATORS.get(type) : undefined;
}
