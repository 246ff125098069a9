import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../ir/node.js";
import { floatTensor } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite, nodeLabel } from "../ir/walk.js";
import { HTP_CAPABILITIES } from "../targets/capabilities.js";
import { goesToInteger } from "../weights/activation.js";
import { addConstant } from "../weights/constant.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { type GateFactor, gateEncoding, productEncoding, scaledEncoding } from "./support/gate-encoding.js";
import { addQuantizedConstant, type Encoding, encodingBehind } from "./support/qdq.js";
import { insertPair } from "./support/separate-output.js";
import { operandsOf, removeUnused, scalarOf } from "./support/subgraph.js";

/**
 * `Mul(x, Sigmoid(x)) -> Q` -> `Mul(x, DQ(Q(Sigmoid(x)))) -> Q`, where x is quantized; the same for `u Sigmoid(x)` and
 * `x Sigmoid(a x)`, whose product with `a` gets a pair, too, as does the product with the Sigmoid where no quantizer reads
 * it. QuickGelu of com.microsoft is written so first. Encodings follow from those of x and u; that of a Sigmoid is the one
 * that the HTP gives it in any case.
 *
 * Else the HTP computes what is between Q/DQ in float16: 65 dB instead of 80. With 8 bits float16 is the better of the two,
 * so that it is left where there is float16.
 */
export const legalizeSilu = definePass({
	name: "legalize-silu",
	summary: "Quantize what is inside of SiLU and other products with a Sigmoid, where what goes in is quantized.",
	options: {},
	run(model, context) {
		const run = { model, context, names: new NameScope(model) };
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) {
				const sigmoid = isMicrosoftOp(node, "QuickGelu") ? writtenOut(node, run.names) : node;
				if (sigmoid !== undefined && isOnnxOp(sigmoid, "Sigmoid")) changed = quantize(sigmoid, site, run) || changed;
			}
		}
		return changed;
	},
});

interface Run {
	readonly model: Model;
	readonly context: PassContext<object>;
	readonly names: NameScope;
}

/** The product with a constant, undefined where there is none, and the quantized x in front of a Sigmoid. */
interface Argument {
	readonly encoding: Encoding;
	readonly product?: Node;
	readonly factor: number;
}

/** Puts pairs around the Sigmoid `node`, where all is quantized that it and its readers read. */
function quantize(node: Node, site: GraphSite, { model, context, names }: Run): boolean {
	const gate = node.outputs[0]!;
	if (goesToInteger(gate)) return false;
	const argument = argumentOf(node.inputs[0]);
	const leave = (code: Parameters<typeof context.report>[0], message: string): false => {
		context.report(code, message, { graph: site.path, node: nodeLabel(node) });
		return false;
	};
	if (argument === undefined) {
		return leave("silu/float", `what Sigmoid '${nodeLabel(node)}' reads has no encoding of 8 or 16 bits`);
	}
	const { dtype } = argument.encoding;
	if (
		isNarrow(dtype) &&
		(context.target === undefined || HTP_CAPABILITIES[context.target.architecture].floatOperators)
	) {
		return leave("silu/8-bit", `Sigmoid '${nodeLabel(node)}' reads values of 8 bits, and float16 is closer than these`);
	}
	const factors = gate.uses.map(({ node: reader }) => factorOf(reader, gate, argument));
	if (gate.isGraphOutput || !factors.every((factor) => factor !== undefined)) {
		return leave(
			"silu/reader",
			`not all that reads Sigmoid '${nodeLabel(node)}' is a product with what is quantized alike`,
		);
	}
	if (argument.product !== undefined) quantizeProduct(model, argument.product, argument, names);
	for (const { product, factor } of factors) {
		const result = product.outputs[0]!;
		if (!goesToInteger(result)) insertPair(model, result, productEncoding(factor), names);
	}
	insertPair(model, gate, gateEncoding(dtype), names);
	context.count("Sigmoids quantized");
	return true;
}

function isNarrow(dtype: DataType): boolean {
	return dtype === DataType.UINT8 || dtype === DataType.INT8;
}

function argumentOf(value: Value | undefined): Argument | undefined {
	const encoding = activationEncoding(value);
	if (encoding !== undefined) return { encoding, factor: 1 };
	const product = value?.producer;
	if (product === undefined || !isOnnxOp(product, "Mul")) return undefined;
	for (const [x, constant] of operandsOf(product)) {
		const factor = scalarOf(constant);
		const before = activationEncoding(x);
		if (before !== undefined && factor !== undefined && factor > 0) return { encoding: before, product, factor };
	}
	return undefined;
}

function activationEncoding(value: Value | undefined): Encoding | undefined {
	const encoding = encodingBehind(value);
	return encoding?.dtype === DataType.INT32 ? undefined : encoding;
}

/** What the product `node` multiplies `gate` by, where that is quantized in the type of the Sigmoid's argument. */
function factorOf(
	node: Node,
	gate: Value,
	argument: Argument,
): { readonly product: Node; readonly factor: GateFactor } | undefined {
	if (!isOnnxOp(node, "Mul") || node.graph !== gate.graph) return undefined;
	const other = node.inputs[node.inputs[0] === gate ? 1 : 0];
	const encoding = activationEncoding(other);
	if (encoding?.dtype !== argument.encoding.dtype) return undefined;
	const x = argument.product?.inputs ?? gate.producer!.inputs;
	return { product: node, factor: { encoding, slope: x.includes(other) ? argument.factor : undefined } };
}

/** Both the constant and the product become integers: those of x, with another scale. */
function quantizeProduct(model: Model, product: Node, { encoding, factor }: Argument, names: NameScope): void {
	const result = product.outputs[0]!;
	for (const [index, value] of product.inputs.entries()) {
		if (value === undefined || scalarOf(value) === undefined || activationEncoding(value) !== undefined) continue;
		const spec = { shape: [], values: [factor], dtype: encoding.dtype };
		product.setInput(index, addQuantizedConstant(product.graph!, value.name, spec, names, product));
		removeUnused(value);
	}
	if (!goesToInteger(result)) insertPair(model, result, scaledEncoding(encoding, factor), names);
}

/** `QuickGelu(x) {alpha}` as `Mul(x, Sigmoid(Mul(x, alpha)))`, where x has 16 bits; returns the Sigmoid. */
function writtenOut(node: Node, names: NameScope): Node | undefined {
	const [x] = node.inputs;
	const [y] = node.outputs;
	const encoding = activationEncoding(x);
	if (x === undefined || y === undefined || encoding === undefined || isNarrow(encoding.dtype)) return undefined;
	const graph = node.graph as Graph;
	const attribute = node.attributes.get("alpha");
	const alpha = attribute?.kind === "float" ? attribute.value : QUICK_GELU_ALPHA;
	const factor = addConstant(graph, names.fresh(`${y.name}_alpha`), floatTensor([], [alpha]), node);
	const [scaled, gate] = ["scaled", "gate"].map((suffix) =>
		graph.createValue(names.fresh(`${y.name}_${suffix}`), y.type),
	);
	graph.createNode({ op: "Mul", name: "", inputs: [x, factor], outputs: [scaled!] }, node);
	const sigmoid = graph.createNode({ op: "Sigmoid", name: "", inputs: [scaled!], outputs: [gate!] }, node);
	graph.replaceNode(node, { op: "Mul", name: node.name, inputs: [x, gate!], outputs: [y] });
	return sigmoid;
}

const QUICK_GELU_ALPHA = 1.702;
