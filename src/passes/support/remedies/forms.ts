import { isOnnxOp } from "../../../ir/node.js";
import { lowerEinsum } from "../einsum-remedy.js";
import { retype, unsign } from "../encoding-remedies.js";
import { dropNothing, dropOutputs, keepDefaults, otherForm } from "../form-remedies.js";
import { gatherPoints } from "../gather-remedy.js";
import { otherMode } from "../mode-remedies.js";
import type { RemedyEntry } from "../remedy.js";
import { writeOut } from "../written-out.js";

/** Remedies for rules about forms, modes and operators. */
export const FORM_REMEDIES: readonly RemedyEntry[] = [
	["htp/einsum", lowerEinsum],
	["htp/computed-parameter", keepDefaults],
	["htp/operator-form", otherForm],
	["htp/unused-output", dropOutputs],
	["htp/operator-never", dropNothing],
	["htp/operator-mode", otherMode],
	["htp/operator-mode-wrong", otherMode],
	[
		"htp/operator-refused",
		(operator, tools) => writeOut(operator, tools) || retype(operator, tools) || gatherPoints(operator, tools),
	],
	[
		"htp/operator-signed",
		(operator, tools) => (isOnnxOp(operator.node, "ArgMax", "ArgMin") ? unsign : retype)(operator, tools),
	],
	["htp/operator-wrong", retype],
];
