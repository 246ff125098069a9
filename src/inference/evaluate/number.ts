import { DataType, type Dimension } from "../../ir/types.js";

const INTEGER_RANGES: Readonly<Record<DataType, readonly [number, number]>> = {
	[DataType.INT64]: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
	[DataType.UINT64]: [0, Number.MAX_SAFE_INTEGER],
	[DataType.INT32]: [-(2 ** 31), 2 ** 31 - 1],
	[DataType.UINT32]: [0, 2 ** 32 - 1],
	[DataType.INT16]: [-(2 ** 15), 2 ** 15 - 1],
	[DataType.UINT16]: [0, 2 ** 16 - 1],
	[DataType.INT8]: [-128, 127],
	[DataType.UINT8]: [0, 255],
	[DataType.BOOL]: [0, 1],
};

export function isIntegerType(type: DataType): boolean {
	return type in INTEGER_RANGES;
}

/** `value` as an element of `type`; undefined where it is none that can be told exactly (overflow, division by zero). */
export function elementOf(type: DataType, value: number): Dimension {
	const range = INTEGER_RANGES[type];
	if (range !== undefined) {
		return Number.isInteger(value) && value >= range[0] && value <= range[1] ? value + 0 : undefined;
	}
	if (!Number.isFinite(value)) return undefined;
	if (type === DataType.FLOAT) return Math.fround(value);
	return type === DataType.DOUBLE ? value : undefined;
}
