import { DataType } from "../ir/types.js";

/** How values are written as integers. */
export interface FixedOutput {
	readonly scale: number;
	readonly zeroPoint: number;
}

/** Operators whose range is known, with the only encoding that the compiler gives their output of 16 bits. */
const FIXED_OUTPUTS: Readonly<Record<string, Readonly<Partial<Record<DataType, FixedOutput>>>>> = {
	Sigmoid: {
		[DataType.UINT16]: { scale: 2 ** -16, zeroPoint: 0 },
		[DataType.INT16]: { scale: 2 ** -15, zeroPoint: 0 },
	},
	Tanh: {
		[DataType.UINT16]: { scale: 2 ** -15, zeroPoint: 2 ** 15 },
		[DataType.INT16]: { scale: 2 ** -15, zeroPoint: 0 },
	},
};

/** The encoding that the HTP's compiler gives the output of an operator in codes of a type, whatever the model says. */
export function fixedOutput(op: string, dtype: DataType): FixedOutput | undefined {
	return FIXED_OUTPUTS[op]?.[dtype];
}
