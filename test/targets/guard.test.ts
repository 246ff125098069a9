import { expect, test } from "vitest";
import type { Finding } from "../../src/targets/check-model.js";
import { refusalOf } from "../../src/targets/guard.js";
import { parseTarget } from "../../src/targets/target.js";

const finding = (node: string, consequence: Finding["consequence"]) =>
	({ rule: "htp/control-flow", consequence, node, graph: "main", message: "operator If" }) as unknown as Finding;

test("a refusal names every operator, and what is only slow is none", () => {
	const target = parseTarget("qnn-htp:v79");
	expect(refusalOf([finding("a", "slow")], target)).toBeUndefined();
	const findings = [
		finding("a", "refused"),
		finding("slow one", "slow"),
		finding("b", "wrong"),
		finding("c", "refused"),
	];
	expect(refusalOf(findings, target)?.message).toBe(
		"qnn-htp:v79 would not run the result right: 'a': operator If [htp/control-flow]; nor would 'b' [htp/control-flow], 'c' [htp/control-flow]; nothing was written",
	);
	const many = Array.from({ length: 103 }, (_, index) => finding(`if ${index}`, "refused"));
	expect(refusalOf(many, target)?.message).toMatch(/'if 99' \[htp\/control-flow\] and 3 more; nothing was written$/);
});
