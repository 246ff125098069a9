import { isStandardDomain, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { OPERATOR_TABLE, type OperatorOutcome, SAME_TYPES, type TriedForm } from "./operator-table.js";
import { HTP_ARCHITECTURES, type HtpArchitecture } from "./target.js";

/** How the table names the operator of `node`: `domain:Operator` outside the standard domain. */
export function operatorKey({ op }: Node): string {
	return isStandardDomain(op.domain) ? op.type : `${op.domain}:${op.type}`;
}

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

/** Types of the codes that an operator reads and writes. */
export interface OperatorTypes {
	readonly input: DataType;
	readonly output: DataType;
}

const WIDE: OperatorTypes = { input: DataType.UINT16, output: DataType.UINT16 };
const NARROW: OperatorTypes = { input: DataType.UINT8, output: DataType.UINT8 };
/** What has other types than it reads is computed on floats. */
const MIXED: OperatorTypes = { input: DataType.UINT16, output: DataType.INT16 };

/**
 * The types between which the operator `key` is right: of 8 bits where `isNarrow` and that is right, on
 * integers before floats. undefined where no types are.
 */
export function rightTypes(key: string, isNarrow: boolean, architecture: HtpArchitecture): OperatorTypes | undefined {
	const isRight = (form: TriedForm) => operatorOutcome(key, form, architecture) === "right";
	if (isNarrow && isRight("8 bits")) return NARROW;
	if (isRight("16 bits")) return WIDE;
	return isRight("float") && !SAME_TYPES.includes(key) ? MIXED : undefined;
}
