import { floatOf } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp } from "../../ir/node.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import { POINTWISE_DEPTHWISE_RATIO } from "../../targets/pointwise-depthwise.js";
import { addConstant, constantOf, removeIfUnused } from "../../weights/constant.js";
import { type WeightSite, weightSiteAt } from "../../weights/weight-site.js";
import { guardFloats, guardScales } from "./guard-scales.js";
import { addQuantizedConstant, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { replaceValue } from "./replace-value.js";
import { separateOutput } from "./separate-output.js";
import { smallConstantOf } from "./small-constant.js";
import { repeatScale } from "./weight-parameters.js";

/** Of INT4 codes in INT8. */
const WIDER = 16;

/** `DQ(INT4 codes, scale)` -> `DQ(INT8 codes of 16 times that, a sixteenth of the scale)`: the same weight in finer products. */
export const widenCodes: Remedy = ({ weight }, { names }) => widenWeight(weight!.site, names);

function widenWeight(site: WeightSite, names: NameScope): boolean {
	const { node, dequantization } = site;
	const scale = smallConstantOf(dequantization?.node.inputs[1]);
	if (site.stored.tensor.dtype !== DataType.INT4 || dequantization === undefined || scale === undefined) return false;
	if (dequantization.blockSize > 0) return false;
	if (site.indirect !== undefined || dequantization.scaleNode !== undefined) return false;
	const before = node.inputs[site.input]!;
	const graph = node.graph!;
	const { attributes } = dequantization.node;
	const { name } = before;
	const zeroPoint = dequantization.zeroPoint?.tensor ?? emptyInt4(scale.shape);
	const scales = Float32Array.from(scale.values, (value) => value / WIDER);
	const inputs = [
		addConstant(graph, names.fresh(`${name}_int8`), sixteenfold(site.stored.tensor), node),
		addConstant(graph, names.fresh(`${name}_scale`), floatTensor(scale.shape, scales), node),
		addConstant(graph, names.fresh(`${name}_zero_point`), sixteenfold(zeroPoint), node),
	];
	const made = graph.createValue(names.fresh(`${name}_wide`));
	const label = names.fresh(`${name}_wide_DQ`);
	graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made], attributes }, node);
	node.setInput(site.input, made);
	removeUnused(before);
	return true;
}

/** As {@link widenCodes}, of the MatMul or Gemm whose result comes, through quantizers and views, into the operator. */
export const widenProduct: Remedy = ({ node, graphSite, opset }, { names }) => {
	let producer = node.inputs[0]?.producer;
	while (producer !== undefined && !isOnnxOp(producer, "MatMul", "Gemm")) producer = producer.inputs[0]?.producer;
	const site = producer && weightSiteAt(producer, 1, graphSite, opset);
	return site !== undefined && widenWeight(site, names);
};

function emptyInt4(shape: readonly number[]): Tensor {
	return tensor(DataType.INT4, shape, new Uint8Array(Math.ceil(elementCount(shape) / 2)));
}

/** INT4 codes as INT8 of 16 times as much: the nibble as the upper half of a byte. */
function sixteenfold({ shape, data }: Tensor): Tensor {
	const bytes = computedData(elementCount(shape), (start, end) => {
		const first = Math.floor(start / 2);
		const packed = data.read(first, Math.ceil(end / 2));
		return Uint8Array.from({ length: end - start }, (_, index) => {
			const at = start + index;
			const byte = packed[Math.floor(at / 2) - first]!;
			return at % 2 === 0 ? (byte & 0x0f) << 4 : byte & 0xf0;
		});
	});
	return tensor(DataType.INT8, shape, bytes);
}

/**
 * A bias that does not fit 32 bits in steps of the products: channels of a weight with one scale a channel get larger ones,
 * which these hardly need; else `Conv(x, W, B) -> Q` -> `Conv(x, W) -> Q -> DQ -> Add(B) -> Q`.
 */
export const makeRoomForBias: Remedy = (operator, tools) => {
	const { node, weight, fusedAdd } = operator;
	const { model, names, report } = tools;
	const dequantize = weight?.site.dequantization?.node;
	if (weight?.scheme === "per-channel" && guardScales(model, names, dequantize).length > 0) return true;
	const site = weight?.site;
	if (site === undefined || site.input !== 1) return false;
	const separate = () => {
		const separation = separateOutput(model, site, names);
		report(operator, separation);
		return typeof separation !== "string";
	};
	if (fusedAdd !== undefined) return separate();
	const output = node.outputs[0]!;
	const bias = smallConstantOf(node.inputs[2]);
	const encoding = encodingBehind(node.inputs[0]);
	const rank = operator.outputs[0]!.shape?.length;
	if (bias === undefined || encoding === undefined || rank === undefined || bias.shape.length > 1) return false;
	if (floatOf(node, "beta", 1) !== 1) return false;
	const before = node.next;
	const graph = node.graph!;
	const isImage = isOnnxOp(node, "Conv", "ConvTranspose");
	const shape = isImage ? [bias.values.length, ...new Array<number>(rank - 2).fill(1)] : [bias.values.length];
	const old = node.inputs[2]!;
	const constant = { shape, values: bias.values, dtype: encoding.dtype };
	const addend = addQuantizedConstant(graph, old.name, constant, names, node);
	const sum = graph.createValue(names.fresh(`${output.name}_sum`), output.type);
	const { name } = output;
	replaceValue(model, output, sum, names.fresh(`${name}_product`));
	graph.createNode({ op: "Add", name: names.fresh(`${name}_Add`), inputs: [addend, output], outputs: [sum] }, before);
	node.setInput(2, undefined);
	node.trimInputs();
	removeUnused(old);
	const rest = weightSiteAt(node, 1, site.graphSite, site.opset);
	if (rest === undefined) return true;
	report({ ...operator, weight }, separateOutput(model, rest, names));
	return true;
};

/** Steps of a weight that are so small that its products are misread: the least that are not, the codes rounded anew. */
export const raiseSteps: Remedy = ({ weight }, { model, names }) => {
	const site = weight!.site;
	if (weight!.scheme === "float") return guardFloats(site, names);
	return guardScales(model, names, site.dequantization?.node).length > 0;
};

/** As {@link raiseSteps}, to what a depthwise Conv of one position takes. */
export const raiseDepthwiseSteps: Remedy = ({ weight }, { model, names }) => {
	const dequantize = weight!.site.dequantization?.node;
	const ratio = POINTWISE_DEPTHWISE_RATIO * ROUNDING_ROOM;
	return dequantize !== undefined && guardScales(model, names, dequantize, ratio).length > 0;
};

/** Keeps a step that is rounded to a float32 at what it is to be at least. */
const ROUNDING_ROOM = 1.001;

/** A bias of a Gemm that is one number, or one row, as a vector of one number a channel. */
export const expandBias: Remedy = ({ node, weight }, { names }) => {
	const bias = smallConstantOf(node.inputs[2]);
	const channels = weight!.channels;
	const count = bias?.values.length;
	if (bias === undefined || (count !== 1 && (count !== channels || bias.shape.at(-1) !== channels))) return false;
	const old = node.inputs[2]!;
	const values = Float32Array.from({ length: channels }, (_, channel) => bias.values[count === 1 ? 0 : channel]!);
	node.setInput(2, addConstant(node.graph!, names.fresh(`${old.name}_row`), floatTensor([channels], values), node));
	removeUnused(old);
	return true;
};

/** alpha into a constant float weight of a Gemm, beta into its constant float bias. */
export const foldFactors: Remedy = ({ node, weight }, { names }) => {
	const [alpha, beta] = [floatOf(node, "alpha", 1), floatOf(node, "beta", 1)];
	const bias = constantOf(node.inputs[2]);
	if (weight?.scheme !== "float" || weight.dtype !== DataType.FLOAT || weight.site.stored.overridable) return false;
	const index = weight.site.input;
	const stored = constantOf(node.inputs[index]);
	const isFolded = beta === 1 || node.inputs[2] === undefined || bias?.tensor.dtype === DataType.FLOAT;
	if (stored === undefined || !isFolded || bias?.overridable === true) return false;
	for (const [at, constant, factor] of [[index, stored, alpha] as const, [2, bias, beta] as const]) {
		if (constant === undefined || factor === 1) continue;
		const name = names.fresh(`${constant.value.name}_scaled`);
		node.setInput(at, addConstant(node.graph!, name, multiplied(constant.tensor, factor), node));
		removeIfUnused(constant.value);
	}
	node.attributes.delete("alpha");
	node.attributes.delete("beta");
	return true;
};

/** FLOAT numbers times `factor`, multiplied when they are read. */
function multiplied({ dtype, shape, data }: Tensor, factor: number): Tensor {
	const bytes = computedData(data.byteLength, (start, end) => {
		const first = start - (start % 4);
		const last = Math.min(data.byteLength, end + 3 - ((end + 3) % 4));
		const numbers = new Float32Array(Uint8Array.from(data.read(first, last)).buffer);
		return bytesOf(numbers.map((value) => value * factor)).subarray(start - first, end - first);
	});
	return tensor(dtype, shape, bytes);
}

/** A scale for all channels as one for each. */
export const repeatScales: Remedy = ({ node, weight }, { names }) => {
	const before = node.inputs[weight!.site.input]!;
	const done = repeatScale(weight!.site, names);
	if (done) removeUnused(before);
	return done;
};
