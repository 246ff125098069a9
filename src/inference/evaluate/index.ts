import { isStandardDomain, type OpId } from "../../ir/node.js";
import type { Evaluator } from "../operator-call.js";
import { ELEMENTWISE_EVALUATORS } from "./elementwise.js";
import { MOVEMENT_EVALUATORS } from "./movement.js";

const EVALUATORS: ReadonlyMap<string, Evaluator> = new Map(
	Object.entries({ ...ELEMENTWISE_EVALUATORS, ...MOVEMENT_EVALUATORS }),
);

/** How to compute the output of an operator from small inputs; undefined for one whose results are no shapes. */
export function evaluatorOf({ domain, type }: OpId): Evaluator | undefined {
	return isStandardDomain(domain) ? EVALUATORS.get(type) : undefined;
}
