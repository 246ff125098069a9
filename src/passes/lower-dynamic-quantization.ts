import { intAttribute } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../ir/tensor.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allNodes, type GraphSite } from "../ir/walk.js";
import { addConstant, type Constant, constantOf } from "../weights/constant.js";
import { numbersOf } from "../weights/numbers.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { type DynamicForm, dynamicFormOf, isIntegerProduct } from "./support/dynamic-form.js";
import { lazyTypes, leave } from "./support/fusion.js";
import { ensureOpset } from "./support/opset/ensure-opset.js";
import { replaceSubgraph } from "./support/subgraph.js";
import { identityView, viewOf, viewShape } from "./support/tensor-view.js";

/** Since when DequantizeLinear has one scale a channel. */
const SINCE = 13;

/**
 * `Cast(MatMulInteger(codes, W, zero, W_zero)) * (scale * W_scale)` with `codes, scale, zero = DynamicQuantizeLinear(x)` ->
 * `MatMul(x, DequantizeLinear(W, W_scale, W_zero))`, and ConvInteger likewise with its bias; DynamicQuantizeMatMul and
 * MatMulIntegerToFloat of com.microsoft -> the same, with an Add for the bias. What ONNX Runtime's quantize_dynamic made is
 * a model with 8-bit weights then. Only the rounding of x to 8 bits goes; zero points that are all 0 go, too.
 */
export const lowerDynamicQuantization = definePass<Record<never, never>>({
	name: "lower-dynamic-quantization",
	summary: "Write products of dynamically quantized values as MatMul and Conv with a DequantizeLinear of the weight.",
	options: {},
	run(model, context) {
		const sites = withOpset(model, formsOf(model, context), context);
		const weights = new Weights(new NameScope(model));
		for (const [{ graph }, form] of sites) lower(form, weights.dequantized(form, graph), weights.names);
		if (sites.length > 0) context.count("nodes lowered", sites.length);
		return sites.length > 0;
	},
});

type Site = readonly [GraphSite, DynamicForm];

/** Those to be lowered; reports the others. */
function formsOf(model: Model, context: PassContext<unknown>): Site[] {
	const types = lazyTypes(model);
	const found: Site[] = [];
	for (const { node, site } of allNodes(model)) {
		if (!isIntegerProduct(node)) continue;
		const form = dynamicFormOf(node, types);
		if ("code" in form) leave(form, node, site, context);
		else found.push([site, form]);
	}
	return found;
}

/** Raises the operator set where it is too old; returns the sites that have it. */
function withOpset(model: Model, sites: readonly Site[], context: PassContext<unknown>): readonly Site[] {
	const scopeOf = ([site]: Site) => site.function ?? model;
	const old = sites.filter((site) => (onnxOpset(scopeOf(site)) ?? 0) < SINCE);
	const obstacle = ensureOpset(model, old.map(scopeOf), SINCE);
	if (obstacle === undefined) return sites;
	for (const [site, { node, weight }] of old) {
		leave({ code: "dynamic/opset", message: `weight '${weight.value.name}' stays: ${obstacle}` }, node, site, context);
	}
	return sites.filter((site) => !old.includes(site));
}

/** The DequantizeLinears, one for all products of a graph that read the same. */
class Weights {
	readonly names: NameScope;
	readonly #made = new Map<Graph, (readonly [DynamicForm, Value])[]>();

	constructor(names: NameScope) {
		this.names = names;
	}

	/** In front of the product, and so in front of all later ones. */
	dequantized(form: DynamicForm, graph: Graph): Value {
		const made = this.#made.get(graph) ?? [];
		this.#made.set(graph, made);
		const same = made.find(([other]) => isSameWeight(other, form));
		if (same !== undefined) return same[1];
		const { weight, scale, zeroPoint, axis, node } = form;
		const counts = [scale, zeroPoint].map((constant) => elementCount(constant?.tensor.shape ?? []));
		const channels = Math.max(...counts) > 1 ? weight.tensor.shape[axis] : undefined;
		const shaped = (constant: Constant) => this.#withChannels(constant, channels, form, graph);
		const inputs = [weight.value, shaped(scale), ...(zeroPoint === undefined ? [] : [shaped(zeroPoint)])];
		const output = graph.createValue(this.names.fresh(`${weight.value.name}_dequantized`));
		const name = this.names.fresh(`${weight.value.name}_DequantizeLinear`);
		const attributes = channels === undefined ? {} : { axis: intAttribute(axis) };
		graph.createNode({ op: "DequantizeLinear", name, inputs, outputs: [output], attributes }, node);
		made.push([form, output]);
		return output;
	}

	/** The constant as a number, or as one for each of `channels`; a Constant node may stand behind the product. */
	#withChannels({ value, tensor }: Constant, channels: number | undefined, { node }: DynamicForm, graph: Graph): Value {
		const shape = channels === undefined ? [] : [channels];
		const isShaped = tensor.shape.length === shape.length && elementCount(tensor.shape) === elementCount(shape);
		if (isShaped && value.producer === undefined) return value;
		const name = this.names.fresh(`${value.name}_${channels === undefined ? "scalar" : "channels"}`);
		return addConstant(graph, name, spread(tensor, shape), node);
	}
}

function isSameWeight(a: DynamicForm, b: DynamicForm): boolean {
	return (
		a.weight.value === b.weight.value &&
		a.scale.value === b.scale.value &&
		a.zeroPoint?.value === b.zeroPoint?.value &&
		a.axis === b.axis
	);
}

/** The same elements in another shape, or the only one repeated. */
function spread(source: Tensor, shape: readonly number[]): Tensor {
	const count = elementCount(shape);
	if (elementCount(source.shape) === count) return tensor(source.dtype, shape, source.data);
	const numbers = new Float32Array(count).fill(numbersOf(source)[0]!);
	return source.dtype === DataType.FLOAT
		? floatTensor(shape, numbers)
		: tensor(source.dtype, shape, bytesOf(Uint8Array.from(numbers)));
}

function lower(form: DynamicForm, weight: Value, names: NameScope): void {
	const { operator, node, root, x, bias } = form;
	const { name } = node;
	const inputs = [x, weight];
	if (operator === "Conv") {
		const attributes = new Map(node.attributes);
		const added = biasBehind(form, names);
		if (added !== undefined) inputs.push(added.bias);
		replaceSubgraph(added?.add ?? root, { op: operator, name, inputs, attributes });
	} else if (bias === undefined) replaceSubgraph(root, { op: operator, name, inputs });
	else {
		const result = root.outputs[0]!.name;
		const product = root.graph!.createValue(names.fresh(`${result}_product`));
		root.graph!.createNode({ op: operator, name, inputs, outputs: [product] }, root);
		replaceSubgraph(root, { op: "Add", name: names.fresh(`${name || result}_bias`), inputs: [product, bias] });
	}
}

/** The Add of one constant a channel that alone reads what a convolution gives, and these constants as a vector. */
function biasBehind(
	{ root, weight }: DynamicForm,
	names: NameScope,
): { readonly add: Node; readonly bias: Value } | undefined {
	const result = root.outputs[0]!;
	const [use, ...others] = result.uses;
	if (use === undefined || others.length > 0 || result.isGraphOutput) return undefined;
	const { node: add, index } = use;
	if (!isOnnxOp(add, "Add") || add.graph !== root.graph) return undefined;
	const addend = add.inputs[1 - index]!;
	const reshape = addend.producer !== undefined && isOnnxOp(addend.producer, "Reshape") ? addend.producer : undefined;
	const bias = constantOf(reshape?.inputs[0] ?? addend);
	if (bias === undefined || bias.overridable || bias.tensor.dtype !== DataType.FLOAT) return undefined;
	const { shape } = bias.tensor;
	const view = reshape === undefined ? identityView(shape.length) : viewOf(reshape, shape);
	const added = view && viewShape(view, shape);
	const rank = weight.tensor.shape.length;
	const channels = weight.tensor.shape[0]!;
	if (added === undefined || added.length > rank || added.at(1 - rank) !== channels) return undefined;
	if (elementCount(added) !== channels) return undefined;
	if (shape.length === 1) return { add, bias: bias.value };
	const name = names.fresh(`${bias.value.name}_channels`);
	return { add, bias: addConstant(add.graph!, name, spread(bias.tensor, [channels]), add) };
}
