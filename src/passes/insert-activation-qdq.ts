import { QGraphError } from "../diagnostics.js";
import { readEncodings } from "../encodings/read-encodings.js";
import { inferTypes } from "../inference/index.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType, dataTypeName } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { findUnits, isMadeOfSoftmax } from "../recipe/find-units.js";
import { type Recipe, settingOf } from "../recipe/recipe.js";
import { HTP_CAPABILITIES } from "../targets/capabilities.js";
import { constantOf } from "../weights/constant.js";
import { findWeightSites } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { absorbClamps } from "./support/absorbed-clamps.js";
import { ActivationRanges, isFloat } from "./support/activation-ranges.js";
import { quantizerBehind } from "./support/activation-types.js";
import { biasCodesOf, replaceBias } from "./support/bias-form.js";
import { quantizeActivation } from "./support/encoded-activation.js";
import { addEncodedConstant } from "./support/encoded-table.js";
import { widenActivations, widenConstants } from "./support/existing-quantization.js";
import type { SymmetricSide } from "./support/grid-groups.js";
import { inputsOfOneGrid, kernelEncoding } from "./support/grid-operators.js";
import { type GridPlan, type PlanSource, planGrids } from "./support/grid-plan.js";
import { guardScales } from "./support/guard-scales.js";
import { makeInterfaceInteger } from "./support/integer-interface.js";
import { tameMasks } from "./support/mask-constants.js";
import { OperatorPrecisions } from "./support/operator-precision.js";
import { addQdq, encodingAt, encodingBehind } from "./support/qdq.js";
import { removeUnused } from "./support/remove-unused.js";
import { upgradeOpset } from "./upgrade-opset.js";

/** The first operator set with 16-bit codes. */
const CODES_OPSET = 21;

/** So many values get a diagnostic of their own. */
const MAX_NAMED = 20;

export interface InsertActivationQdqOptions {
	readonly encodings: string;
	readonly recipe: string;
	readonly products: "auto" | "16x16" | "16x8";
	/** Of inputs and outputs of the model. */
	readonly io: "float" | "integer";
	/** What becomes of activations that are quantized with 8 bits already. */
	readonly existing: "keep" | "widen";
}

/**
 * `x -> Conv -> Relu -> Reshape -> y` -> the same between DequantizeLinear and QuantizeLinear, on grids that the HTP computes
 * on: one for every value, and the same for what Reshape, Concat and their like make of it; those of Sigmoid, Softmax and
 * Tanh as their kernels have them. How many bits is the recipe's business, which range that of the encodings.
 */
export const insertActivationQdq = definePass<InsertActivationQdqOptions>({
	name: "insert-activation-qdq",
	summary:
		"Quantize activations as a recipe says, in ranges from an encodings file, so that the HTP computes on integers.",
	options: {
		encodings: { default: "", describe: "encodings file, version 0.6.1, 1.0.0, 2.0.0 or 2.1.0" },
		recipe: {
			default: "",
			describe: "a recipe file, a built-in recipe (`qgraph recipes`), or a precision: 16a4w_block",
		},
		products: {
			default: "auto",
			choices: ["auto", "16x16", "16x8"],
			describe: "bits of both sides of products of two activations that no rule of the recipe names",
		},
		io: {
			default: "float",
			choices: ["float", "integer"],
			describe: "inputs and outputs of the model: float as they are, or codes",
		},
		existing: {
			default: "keep",
			choices: ["keep", "widen"],
			describe: "activations that have 8 bits already: as they are, or UINT16 with the same values among its own",
		},
	},
	requires(model, { options: { encodings } }) {
		const isQuantized = [...allNodes(model)].some(({ node }) => isOnnxOp(node, "QuantizeLinear"));
		if (encodings !== "" || isQuantized) return;
		throw new QGraphError("pass/unknown-option", "pass 'insert-activation-qdq' needs the option 'encodings', a file");
	},
	async run(model, context) {
		const { options } = context;
		const encodings = options.encodings === "" ? undefined : readEncodings(options.encodings);
		const recipe = options.recipe === "" ? SIXTEEN_BITS : findRecipe(options.recipe);
		const raised = (onnxOpset(model) ?? CODES_OPSET) < CODES_OPSET;
		if (raised && !(await upgradeOpset({ to: CODES_OPSET }).run(model, context))) return false;
		const types = inferTypes(model);
		const names = new NameScope(model);
		const wider = options.existing === "widen" ? widenActivations(model, names) : 0;
		if (wider > 0) context.count("activations widened", wider);
		const wideConstants = options.existing === "widen" ? widenConstants(model, names) : 0;
		if (wideConstants > 0) context.count("constants widened", wideConstants);
		const precisions = new OperatorPrecisions(model, recipe, context.target);
		const ranges = new ActivationRanges(model, types, encodings);
		const tamed = tameMasks(model, ranges, names);
		for (const { mask, from, to } of tamed) {
			const message = `mask '${mask.name}' goes down to ${from.toPrecision(3)}; ${to.toPrecision(3)} is as good in front of the softmax and leaves the scores their codes`;
			context.report("qdq/mask", message, { value: mask.name });
		}
		const limits = absorbClamps(model, ranges, precisions, names);
		if (limits.size > 0) context.count("clamps absorbed", limits.size);
		const { inner, untouched } = fusedBiases(model, precisions);
		const sides = symmetricSides(model, precisions, context);
		const plan = planGrids({ model, types, ranges, precisions, inner, untouched, sides, limits });
		report(plan, { types, ranges, precisions }, context);
		const changed = carryOut(model, plan, names, context);
		const guarded = guardScales(model, names);
		for (const { weight, channels } of guarded) {
			const message = `${channels} channels of weight '${weight}' are next to nothing beside their output or their bias; their scales were raised to what 32 bits can hold`;
			context.report("qdq/guarded", message, { value: weight });
		}
		const biases = quantizeBiases(model, names);
		if (biases > 0) context.count("biases as INT32", biases);
		const ports = options.io === "integer" ? makeInterfaceInteger(model, names) : [];
		for (const { name, kind, encoding } of ports) {
			const { dtype, scale, zeroPoint } = encoding;
			const message = `${kind} '${name}' is ${dataTypeName(dtype)} now and stands for (code - ${zeroPoint}) * ${scale}`;
			context.report("qdq/io", message, { value: name });
		}
		const done = [tamed, guarded, ports].some((list) => list.length > 0);
		return raised || done || limits.size > 0 || wider + wideConstants + biases > 0 || changed;
	},
});

const SIXTEEN_BITS: Recipe = { name: "16 bits", description: undefined, default: settingOf("16a16w"), rules: [] };

type Context = PassContext<InsertActivationQdqOptions>;

/** Products in front of the bias that the target adds to them at once, and these biases: `MatMul -> Add(vector)`. */
function fusedBiases(model: Model, precisions: OperatorPrecisions): { inner: Set<Value>; untouched: Set<Value> } {
	const inner = new Set<Value>();
	const untouched = new Set<Value>();
	for (const { node, input, scheme, stored } of findWeightSites(model)) {
		if (!isOnnxOp(node, "MatMul") || input !== 1 || scheme !== "per-channel" || stored.tensor.shape.length !== 2)
			continue;
		const output = node.outputs[0]!;
		const [use, ...others] = output.uses;
		if (use === undefined || others.length > 0 || output.isGraphOutput || !isOnnxOp(use.node, "Add")) continue;
		const bias = use.node.inputs[1 - use.index];
		const shape = constantOf(bias)?.tensor.shape;
		if (shape?.length !== 1 || shape[0] !== stored.tensor.shape[1]) continue;
		if (precisions.bitsOf(use.node) !== precisions.bitsOf(node) || bias!.uses.length > 1) continue;
		inner.add(output);
		untouched.add(bias!);
	}
	return { inner, untouched };
}

/** Gives float biases of operators between quantized values the scales of the products; returns how many. */
function quantizeBiases(model: Model, names: NameScope): number {
	let count = 0;
	for (const site of findWeightSites(model)) {
		const { node, input, scheme } = site;
		if (!isOnnxOp(node, "Conv", "ConvTranspose", "Gemm") || input !== 1 || scheme === "lpbq") continue;
		const behind = quantizerBehind(node);
		const dtype = encodingBehind(node.inputs[0])?.dtype;
		if (behind === undefined || dtype === undefined || encodingAt(behind.node)?.dtype !== dtype) continue;
		if (constantOf(node.inputs[2])?.tensor.dtype !== DataType.FLOAT) continue;
		const bias = biasCodesOf(site, true);
		if (typeof bias === "string") continue;
		replaceBias(site, bias, names);
		count++;
	}
	return count;
}

/**
 * The right sides of products of two activations with the codes that the HTP multiplies best by, 32 by 24 against the CPU:
 * UINT16 with INT16 whose zero point is 0 gives 76 dB from v73 on, with UINT8 51 dB everywhere, with UINT16 41 dB. What a
 * Softmax made has too many small numbers for UINT8 (htp/softmax-right).
 */
function symmetricSides(model: Model, precisions: OperatorPrecisions, { options, target }: Context): SymmetricSide[] {
	const isWide = target === undefined || HTP_CAPABILITIES[target.architecture].wideProducts;
	return findUnits(model).flatMap((unit): SymmetricSide[] => {
		if (unit.kind !== "attention-product") return [];
		const { operator } = unit;
		if (precisions.bitsOf(operator) !== 16) return [];
		const wanted = precisions.rightBitsOf(operator) ?? PRODUCT_BITS[options.products] ?? (isWide ? 16 : 8);
		if (!isWide && (wanted === 16 || isMadeOfSoftmax(operator.inputs[1]))) return [];
		return [{ use: { node: operator, index: 1 }, dtype: wanted === 16 ? DataType.INT16 : DataType.UINT8 }];
	});
}

const PRODUCT_BITS: Readonly<Partial<Record<InsertActivationQdqOptions["products"], 8 | 16>>> = {
	"16x16": 16,
	"16x8": 8,
};

function carryOut(model: Model, plan: GridPlan, names: NameScope, context: Context): boolean {
	const results = new Map<Value, Value>();
	for (const { value, encoding, readers } of plan.values) {
		const dequantize = quantizeActivation(model, value, encoding, names, readers);
		results.set(value, dequantize.outputs[0]!);
		context.count("activations quantized");
	}
	for (const { value, encoding, readers } of plan.conversions) {
		const source = results.get(value) ?? value;
		const { graph, producer } = source;
		const converted = addQdq(
			graph,
			source,
			encoding,
			names,
			producer === undefined ? [...graph.nodes][0] : producer.next,
		);
		for (const { node, index } of readers) node.setInput(index, converted);
		context.count("conversions");
	}
	for (const { value, encoding, readers } of plan.constants) {
		const byGraph = new Map<Node["graph"], Value>();
		for (const { node, index } of readers) {
			const made =
				byGraph.get(node.graph) ?? addEncodedConstant(node.graph!, constantOf(value)!, encoding, names, node);
			byGraph.set(node.graph, made);
			node.setInput(index, made);
		}
		removeUnused(value);
		context.count("constants quantized");
	}
	return plan.values.length + plan.conversions.length + plan.constants.length > 0;
}

/** The range that an operator's kernel has whatever an encodings file says. */
function kernelRange({ producer }: Value) {
	return producer && kernelEncoding(producer, DataType.UINT16);
}

function report(
	plan: GridPlan,
	{ types, ranges, precisions }: Pick<PlanSource, "types" | "ranges" | "precisions">,
	context: Context,
): void {
	const unknown = plan.unknown;
	for (const value of unknown.slice(0, MAX_NAMED)) {
		const message = `nothing says in what range '${value.name}' lies, so that it stays float`;
		context.report("qdq/no-encoding", message, { value: value.name });
	}
	if (unknown.length > MAX_NAMED) {
		const rest = unknown.slice(MAX_NAMED).map(({ name }) => name);
		context.report("qdq/no-encoding", `${rest.length} more values have no range`, {}, rest);
	}
	const isDerived = (value: Value) => ranges.derived.has(value) && kernelRange(value) === undefined;
	const derived = plan.values.map(({ value }) => value).filter(isDerived);
	const views = derived.filter(({ producer }) => producer !== undefined && inputsOfOneGrid(producer).length > 0);
	if (views.length > 0) {
		const message = `values that the file has no encoding for share that of what they are made of: ${views.length}`;
		context.report(
			"qdq/derived",
			message,
			{},
			views.slice(0, MAX_NAMED).map(({ name }) => name),
		);
	}
	for (const value of derived) {
		if (views.includes(value)) continue;
		const isBound = ranges.bounds.has(value);
		const how = isBound ? "all that the weight and the input allow" : "what the values around it allow";
		const message = `'${value.name}' has no encoding in the file; its range is ${how}`;
		context.report(isBound ? "qdq/bound" : "qdq/derived", message, { value: value.name });
	}
	for (const node of precisions.keptByTarget) {
		if (!node.outputs.some((output) => isFloat(output, types))) continue;
		const message = `'${nodeLabel(node)}' stays on floats: between 16-bit values the target does not compute ${node.op.type} right`;
		context.report("qdq/float", message, { node: nodeLabel(node) });
	}
	if (ranges.unused.length > 0) {
		const message = `${ranges.unused.length} encodings are of tensors that the model does not have, or not any more`;
		context.report("qdq/unused", message, {}, ranges.unused.slice(0, MAX_NAMED));
	}
}
