import { DataType } from "../ir/types.js";

const { UINT8, INT8, UINT16, INT16, INT32, INT64, UINT32, UINT64, BOOL, DOUBLE } = DataType;

/** What looks at elements in another way, or moves them. */
const MOVING = ["Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "ScatterND", "Squeeze", "Unsqueeze"];

/** Operators on integers that are numbers, not codes. */
const COUNTING = [
	...MOVING,
	...["Abs", "Add", "ArgMax", "Clip", "CumSum", "Div", "Equal", "GatherElements", "Greater", "GreaterOrEqual", "Less"],
	...["LessOrEqual", "Max", "Min", "Mul", "ReduceMax", "ReduceMin", "ReduceSum", "ScatterElements", "Slice", "Split"],
	...["Sub", "Tile", "Where"],
];

/**
 * Operators that take elements of a type as they are, with no quantizer beside them, of those that ONNX defines for the type;
 * Cast and what has rules of its own aside. Models of one operator between inputs and outputs of the type, on v73.
 */
export const TAKEN_TYPES: Readonly<Partial<Record<DataType, readonly string[]>>> = {
	[DOUBLE]: [],
	[UINT64]: [],
	[INT8]: [],
	[INT16]: [],
	[UINT16]: ["ScatterElements"],
	[UINT8]: ["Flatten", "Reshape", "ScatterElements", "Slice", "Squeeze", "Unsqueeze"],
	[INT32]: [...COUNTING, "GatherND", "Transpose"],
	[INT64]: [...COUNTING, "GatherND", "Transpose"],
	[UINT32]: [...MOVING, "Max", "Min", "Mul", "Transpose"],
	[BOOL]: [...MOVING, "And", "GatherElements", "Not", "Or", "Slice", "Split", "Tile", "Transpose", "Where", "Xor"],
};
