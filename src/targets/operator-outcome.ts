import { OPERATOR_TABLE, type OperatorOutcome, type TriedForm } from "./operator-table.js";
import { HTP_ARCHITECTURES, type HtpArchitecture } from "./target.js";

/**
 * What became of the operator `key` (`domain:Operator` outside the standard domain) on the nearest architecture that was
 * tried; undefined where the table does not have it.
 */
export function operatorOutcome(
	key: string,
	form: TriedForm,
	architecture: HtpArchitecture,
): OperatorOutcome | undefined {
	const tried = OPERATOR_TABLE[key];
	if (tried === undefined) return undefined;
	const [v68, v73, v81] = tried[form];
	const at = HTP_ARCHITECTURES.indexOf(architecture);
	return at === 0 ? v68 : at <= HTP_ARCHITECTURES.indexOf("v75") ? v73 : v81;
}
