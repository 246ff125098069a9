import { type Attribute, floatOf, intAttribute, intOf, intsOf } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp } from "../../ir/node.js";
import { floatTensor, int64Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { OperandFacts, OperatorFacts } from "../../targets/operator-facts.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, coveringEncoding, encodingAt } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { reshapeAround } from "./reshape-around.js";
import { smallConstantOf } from "./small-constant.js";

/** Elements up to which a mask is written into the model. */
const LARGEST_MASK = 2 ** 22;

/** Writes what an operator computes with others; undefined where that is not known. */
type Write = (operator: OperatorFacts, writer: NodeWriter, names: NameScope) => Value | undefined;

/** Since this version of the operators, reductions take their axes as input. */
const AXES_AS_INPUT = 18;

const number = (writer: NodeWriter, label: string, value: number) => writer.constant(label, floatTensor([], [value]));

function reduce(writer: NodeWriter, { node, opset }: OperatorFacts, value: Value): Value | undefined {
	const isNoop = intOf(node, "noop_with_empty_axes", 0) === 1 && node.inputs[1] === undefined;
	if (opset < AXES_AS_INPUT || isNoop) return undefined;
	const attributes = Object.fromEntries<Attribute>(node.attributes);
	return writer.emit("ReduceSum", [value, ...node.inputs.slice(1)], attributes, "sum");
}

/** Squares of codes as codes: on floats of 16 bits they would overflow, or vanish. */
function quantizedSquare(square: Value, { node, inputs: [input] }: OperatorFacts, names: NameScope): Value {
	const encoding = input?.quantization && encodingAt(input.quantization.node);
	if (encoding === undefined) return square;
	const { lo, hi } = intervalOf(encoding);
	const squares = coveringEncoding(encoding.dtype, { lo: 0, hi: Math.max(hi, -lo) ** 2 });
	return addQdq(node.graph!, square, squares, names, node);
}

/** The power of 2 by which codes reach between 8 and 16, where squares are floats of 16 bits; 1 where they are already, or unknown. */
function tameFactor(input: OperandFacts | undefined): number {
	const encoding = input?.quantization && encodingAt(input.quantization.node);
	if (encoding === undefined) return 1;
	const { lo, hi } = intervalOf(encoding);
	return 2 ** (3 - Math.floor(Math.log2(Math.max(hi, -lo))));
}

const WRITES: Readonly<Record<string, Write>> = {
	ReduceSumSquare(operator, writer, names) {
		const [x] = operator.node.inputs;
		return reduce(writer, operator, quantizedSquare(writer.emit("Mul", [x, x], {}, "square"), operator, names));
	},
	ReduceL1: (operator, writer) => reduce(writer, operator, writer.emit("Abs", [operator.node.inputs[0]], {}, "size")),
	ReduceLogSum(operator, writer) {
		const sum = reduce(writer, operator, operator.node.inputs[0]!);
		return sum && writer.emit("Log", [sum], {}, "log");
	},
	Softsign({ node: { inputs } }, writer) {
		const size = writer.emit("Abs", [inputs[0]], {}, "size");
		const divisor = writer.emit("Add", [size, number(writer, "one", 1)], {}, "divisor");
		return writer.emit("Div", [inputs[0], divisor], {}, "quotient");
	},
	Mish({ node: { inputs } }, writer) {
		const softplus = writer.emit("Softplus", [inputs[0]], {}, "softplus");
		return writer.emit("Mul", [inputs[0], writer.emit("Tanh", [softplus], {}, "tanh")], {}, "product");
	},
	Celu({ node }, writer) {
		const alpha = floatOf(node, "alpha", 1);
		const divided = writer.emit("Mul", [node.inputs[0], number(writer, "inverse", 1 / alpha)], {}, "divided");
		return writer.emit(
			"Mul",
			[writer.emit("Elu", [divided], {}, "elu"), number(writer, "alpha", alpha)],
			{},
			"product",
		);
	},
	MeanVarianceNormalization({ node, opset, inputs: [input] }, writer) {
		if (opset < AXES_AS_INPUT) return undefined;
		const axes = node.attributes.has("axes") ? intsOf(node, "axes") : [0, 2, 3];
		const mean = (value: Value, label: string) =>
			writer.emit("ReduceMean", [value, writer.constant("axes", int64Tensor([axes.length], axes))], {}, label);
		const factor = tameFactor(input);
		const [read] = node.inputs;
		const x = factor === 1 ? read! : writer.emit("Mul", [read, number(writer, "factor", factor)], {}, "scaled");
		const centered = writer.emit("Sub", [x, mean(x, "mean")], {}, "centered");
		const variance = mean(writer.emit("Mul", [centered, centered], {}, "square"), "variance");
		const positive = writer.emit("Add", [variance, number(writer, "epsilon", 1e-9 * factor ** 2)], {}, "positive");
		return writer.emit("Div", [centered, writer.emit("Sqrt", [positive], {}, "deviation")], {}, "normal");
	},
	GroupNormalization({ node, opset, inputs: [input] }, writer) {
		const shape = fixedShape(input?.shape);
		const groups = intOf(node, "num_groups", 0);
		const [scale, bias] = [node.inputs[1], node.inputs[2]].map((value) => smallConstantOf(value)?.values);
		if (opset < 21 || shape === undefined || groups === 0 || scale === undefined || bias === undefined)
			return undefined;
		const [batch, channels] = shape as [number, number];
		const reshaped = (value: Value, to: readonly number[], label: string) =>
			writer.emit("Reshape", [value, writer.constant("shape", int64Tensor([to.length], to))], {}, label);
		const vector = (label: string, values: ArrayLike<number>, dims: readonly number[]) =>
			writer.constant(label, floatTensor(dims, Float32Array.from(values)));
		const flat = [batch, groups, 1, elementCount(shape) / (batch * groups)];
		const ones = vector("ones", new Float32Array(groups).fill(1), [groups]);
		const operands = [
			reshaped(node.inputs[0]!, flat, "groups"),
			ones,
			vector("zeros", new Float32Array(groups), [groups]),
		];
		const epsilon = node.attributes.get("epsilon");
		const normal = writer.emit("InstanceNormalization", operands, epsilon === undefined ? {} : { epsilon }, "normal");
		const wide = [1, channels, ...shape.slice(2).map(() => 1)];
		const scaled = writer.emit("Mul", [reshaped(normal, shape, "image"), vector("scale", scale, wide)], {}, "scaled");
		return writer.emit("Add", [scaled, vector("bias", bias, wide)], {}, "biased");
	},
	Trilu({ node, inputs: [input] }, writer) {
		const shape = fixedShape(input?.shape);
		const diagonal = node.inputs[1] === undefined ? 0 : smallConstantOf(node.inputs[1])?.values[0];
		const size = elementCount(shape?.slice(-2) ?? []);
		const zero = ZEROS[input?.dtype ?? 0];
		if (shape === undefined || shape.length < 2 || diagonal === undefined || size > LARGEST_MASK || zero === undefined)
			return undefined;
		const isUpper = intOf(node, "upper", 1) === 1;
		const [rows, columns] = shape.slice(-2) as [number, number];
		const mask = Uint8Array.from({ length: size }, (_, at) => {
			const distance = (at % columns) - Math.floor(at / columns);
			return (isUpper ? distance >= diagonal : distance <= diagonal) ? 1 : 0;
		});
		const kept = writer.constant("mask", tensor(DataType.BOOL, [rows, columns], mask));
		return writer.emit("Where", [kept, node.inputs[0], writer.constant("zero", zero)], {}, "part");
	},
};

const ZEROS = {
	[DataType.FLOAT]: floatTensor([], [0]),
	[DataType.INT64]: int64Tensor([], [0]),
	[DataType.INT32]: tensor(DataType.INT32, [], new Uint8Array(4)),
} as Readonly<Record<number, ReturnType<typeof tensor> | undefined>>;

/** An operator that is not taken -> others that compute the same, on floats or on integers as it does. */
export const writeOut: Remedy = (operator, { names, architecture }) => {
	const { node, inputs } = operator;
	const write = isOnnxOp(node, node.op.type) ? WRITES[node.op.type] : undefined;
	const isFloat = inputs[0]?.dtype === DataType.FLOAT;
	if (write === undefined || architecture === "v68" || (!isFloat && !isOnnxOp(node, "Trilu"))) return false;
	const writer = new NodeWriter(node, names);
	const result = write(operator, writer, names);
	if (result === undefined) return false;
	writer.give(0, result);
	writer.finish();
	return true;
};

/** A LayerNormalization or RMSNormalization over several axes -> over one that is all of these, with Reshapes around it. */
export const normalizeFlat: Remedy = ({ node, inputs: [input] }, { model, names }) => {
	const shape = fixedShape(input?.shape);
	const given = intOf(node, "axis", -1);
	if (shape === undefined || node.outputs.slice(1).some((output) => output.uses.length > 0 || output.isGraphOutput))
		return false;
	const axis = given < 0 ? given + shape.length : given;
	const inner = elementCount(shape.slice(axis));
	const parameters = node.inputs.slice(1).map((value) => constantOf(value));
	const fits = parameters.every((one) => one !== undefined && elementCount(one.tensor.shape) === inner);
	if (!fits || axis === shape.length - 1) return false;
	const rows = [elementCount(shape.slice(0, axis)), inner];
	for (const [index, constant] of parameters.entries()) {
		const { value, tensor: stored } = constant!;
		const flat = addConstant(node.graph!, names.fresh(`${value.name}_flat`), { ...stored, shape: [inner] }, node);
		node.setInput(index + 1, flat);
		removeUnused(value);
	}
	node.attributes.set("axis", intAttribute(-1));
	reshapeAround(model, node, { input: rows, result: rows, output: shape }, names);
	return true;
};
