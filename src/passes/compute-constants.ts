import { bytesPerElement, elementTypeOf } from "../arrays/element-type.js";
import { inferTypes, type TypeTable } from "../inference/index.js";
import { subgraphsOf } from "../ir/attribute.js";
import { Graph } from "../ir/graph.js";
import { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, isStandardDomain, type Node } from "../ir/node.js";
import { tensor } from "../ir/tensor.js";
import { DataType, elementCount, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { addConstant, constantOf } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";

/** No value that is computed, and no constant that it is computed from, is larger: they are held in memory. */
const MAX_BYTES = 2 ** 25;

/** Operators that compute nothing: constants behind these alone are weights, which passes take as they are. */
const MOVING =
	"Cast CastLike Concat Constant ConstantOfShape Expand Flatten Gather Identity Reshape Shape Slice Split Squeeze Tile Transpose Unsqueeze";
const MOVES: ReadonlySet<string> = new Set(MOVING.split(" "));

/** Element types of what is computed: values, positions, and masks. */
const COMPUTED: readonly DataType[] = [DataType.FLOAT, DataType.INT64, DataType.INT32, DataType.BOOL];

/** What quantized weights are made of, and what makes something else each time. */
const LEFT_ALONE = [
	..."QuantizeLinear DequantizeLinear DynamicQuantizeLinear Bernoulli Dropout Multinomial".split(" "),
	..."RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split(" "),
];

/**
/**
 * `Add(x, Relu(MatMul(table, weight)))` -> `Add(x, constant)`: the values of the main graph that follow from constants alone,
 * computed by whoever runs models for the pipeline: the relative positions of Swin v2, DeBERTa and Conformers and what layers
 * make of them, causal masks, position embeddings that are resized. They would have no ranges, as samples do not change them,
 * and need no codes, nor operators on integers, for what made them. Where nothing runs them, nothing changes.
 */
export const computeConstants = definePass<Record<never, never>>({
	name: "compute-constants",
	summary: "Store what follows from constants alone, computed by ONNX Runtime where that is installed.",
	options: {},
	async run(model, context) {
		const types = inferTypes(model);
		const wanted = wantedValues(model, types);
		if (wanted.length === 0) return false;
		const results = await context.runModel(partOf(model, wanted, types));
		const names = new NameScope(model);
		let changed = false;
		for (const value of wanted) {
			const result = results?.get(value.name);
			const dtype = elementTypeOfValue(value, types);
			if (result === undefined || dtype === undefined || result.type !== elementTypeOf(dtype)) continue;
			const { graph, name } = value;
			const producer = value.producer!;
			const made = tensor(dtype, result.shape, new Uint8Array(result.bytes));
			const stored = addConstant(graph, names.fresh(`${name}_constant`), made, producer);
			value.replaceUsesWith(stored);
			removeUnread(producer);
			if (producer.graph === undefined) stored.name = name;
			context.count("values computed");
			changed = true;
		}
		return changed;
	},
});

/** Values that follow from constants, by more than moving these, and that something else reads. */
function wantedValues(model: Model, types: TypeTable): Value[] {
	/** Whether a known value is computed. */
	const known = new Map<Value, boolean>();
	for (const node of model.graph.nodes) {
		const inputs = node.inputs.filter((input) => input !== undefined);
		const isKnown = (input: Value) => known.has(input) || isSmallConstant(input);
		if (!canBeRun(node) || !inputs.every(isKnown) || !node.outputs.every((output) => isSmall(output, types))) continue;
		const isComputed = !MOVES.has(node.op.type) || inputs.some((input) => known.get(input) === true);
		for (const output of node.outputs) known.set(output, isComputed);
	}
	const isLast = (value: Value) => value.uses.some(({ node }) => !node.outputs.some((output) => known.has(output)));
	return [...known].flatMap(([value, isComputed]) => {
		const dtype = elementTypeOfValue(value, types);
		const isWanted = isComputed && dtype !== undefined && COMPUTED.includes(dtype);
		return isWanted && !value.isGraphOutput && isLast(value) ? [value] : [];
	});
}

function elementTypeOfValue(value: Value, types: TypeTable): DataType | undefined {
	const type = types.typeOf(value);
	return type?.kind === "tensor" ? type.elementType : undefined;
}

function canBeRun(node: Node): boolean {
	return isStandardDomain(node.op.domain) && !isOnnxOp(node, ...LEFT_ALONE) && [...subgraphsOf(node)].length === 0;
}

function isSmallConstant(value: Value): boolean {
	const constant = constantOf(value);
	return constant !== undefined && !constant.overridable && constant.tensor.data.byteLength <= MAX_BYTES;
}

function isSmall(value: Value, types: TypeTable): boolean {
	if (value.name === "") return true;
	const shape = types.staticShapeOf(value);
	const dtype = elementTypeOfValue(value, types);
	const elementType = dtype === undefined ? undefined : elementTypeOf(dtype);
	if (shape === undefined || elementType === undefined) return false;
	return elementCount(shape) * bytesPerElement(elementType) <= MAX_BYTES;
}

/** A model that makes `wanted`, with these and no inputs. */
function partOf({ irVersion, opsetImports, graph }: Model, wanted: readonly Value[], types: TypeTable): Model {
	const part = new Model(new Graph("constants"));
	part.irVersion = irVersion;
	for (const [domain, version] of opsetImports) if (isStandardDomain(domain)) part.opsetImports.set(domain, version);
	const needed = new Set<Node>();
	const pending = [...wanted];
	for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
		if (value.producer === undefined || needed.has(value.producer)) continue;
		needed.add(value.producer);
		pending.push(...value.producer.inputs.filter((input) => input !== undefined));
	}
	const copies = new Map<Value, Value>();
	const copyOf = (value: Value): Value => {
		const copy = copies.get(value) ?? part.graph.createValue(value.name);
		if (!copies.has(value) && value.initializer !== undefined) part.graph.setInitializer(copy, value.initializer);
		copies.set(value, copy);
		return copy;
	};
	for (const node of graph.nodes) {
		if (!needed.has(node)) continue;
		const inputs = node.inputs.map((input) => input && copyOf(input));
		part.graph.createNode({
			op: node.op,
			name: node.name,
			inputs,
			outputs: node.outputs.map(copyOf),
			attributes: new Map(node.attributes),
		});
	}
	for (const value of wanted) {
		const copy = copyOf(value);
		copy.type = tensorType(elementTypeOfValue(value, types)!);
		part.graph.addOutput(copy);
	}
	return part;
}

/** Takes away an operator whose results nobody reads, and what only it read. */
function removeUnread(node: Node): void {
	if (node.outputs.some((output) => output.uses.length > 0 || output.isGraphOutput)) return;
	const inputs = new Set(node.inputs);
	node.remove();
	for (const input of inputs) {
		if (input === undefined || input.uses.length > 0 || input.isGraphOutput || input.isGraphInput) continue;
		if (input.producer !== undefined) removeUnread(input.producer);
		else if (input.initializer !== undefined) input.graph.removeInitializer(input);
	}
}
