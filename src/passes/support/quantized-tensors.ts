import type { PlacedEncoding } from "../../encodings/placement.js";
import { inferTypes } from "../../inference/index.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";
import { type Constant, constantOf } from "../../weights/constant.js";
import { constantAxes } from "./constant-axes.js";
import { placedEncodingAt } from "./node-encoding.js";
import { TensorNames } from "./tensor-names.js";

/** What a model quantizes, and what the tensor is called in the float model that it was or could be made of. */
export interface QuantizedTensor {
	readonly name: string;
	/** `constant`: stored codes, or a float constant in front of a QuantizeLinear; `activation`: what is computed. */
	readonly kind: "constant" | "activation";
	/** How, or the end of a sentence that says why that cannot be said. */
	readonly encoding: PlacedEncoding | string;
	/** The codes of a constant; undefined where they are computed. */
	readonly codes: Constant | undefined;
	readonly quantize: Node | undefined;
	/** The nodes that give the tensor back to its readers. */
	readonly dequantize: readonly Node[];
}

/**
 * Every tensor that a QuantizeLinear or DequantizeLinear of the model quantizes, constants first, in the order of the
 * nodes. What makes the scales of LPBQ is part of its weight.
 */
export function findQuantizedTensors(model: Model): QuantizedTensor[] {
	const names = new TensorNames(model);
	const types = inferTypes(model);
	const constants: QuantizedTensor[] = [];
	const activations: QuantizedTensor[] = [];
	for (const { graph } of allGraphs(model)) {
		for (const node of graph.nodes) {
			if (isOnnxOp(node, "DequantizeLinear")) {
				const codes = constantOf(node.inputs[0]);
				if (codes === undefined || codes.overridable || makesScales(node)) continue;
				constants.push(storedTensor(node, codes, names));
			} else if (isOnnxOp(node, "QuantizeLinear") && node.inputs[0] !== undefined && node.outputs[0] !== undefined) {
				const source = node.inputs[0];
				const constant = constantOf(source);
				const shape = constant?.tensor.shape ?? types.staticShapeOf(source);
				const isConstant = constant !== undefined && !constant.overridable;
				(isConstant ? constants : activations).push(quantizedTensor(node, source, shape, isConstant));
			}
		}
	}
	return [...constants, ...activations];
}

function storedTensor(node: Node, codes: Constant, names: TensorNames): QuantizedTensor {
	const { shape, dtype } = codes.tensor;
	return {
		name: floatName(codes.value, node, names),
		kind: "constant",
		encoding: placedEncodingAt(node, { shape, dtype, axes: constantAxes(codes.value, shape) }),
		codes,
		quantize: undefined,
		dequantize: [node],
	};
}

function quantizedTensor(
	node: Node,
	source: Value,
	shape: readonly number[] | undefined,
	isConstant: boolean,
): QuantizedTensor {
	const axes = shape === undefined || !isConstant ? undefined : constantAxes(source, shape);
	const dequantize = node.outputs[0]!.uses.filter(
		(use) => use.index === 0 && isOnnxOp(use.node, "DequantizeLinear"),
	).map((use) => use.node);
	return {
		name: activationName(rootOf(source)),
		kind: isConstant ? "constant" : "activation",
		encoding: placedEncodingAt(node, { shape, dtype: undefined, axes }),
		codes: undefined,
		quantize: node,
		dequantize,
	};
}

/** Does `node` make the scales of another one? */
function makesScales({ outputs }: Node): boolean {
	const uses = outputs[0]?.uses ?? [];
	const isScale = (use: Value["uses"][number]) =>
		use.index === 1 && isOnnxOp(use.node, "DequantizeLinear", "QuantizeLinear");
	return uses.length > 0 && uses.every(isScale);
}

/**
 * What the constant was called before it became codes: exporters put `_q` or `_quantized` behind the name, and `_scale`
 * behind that of the scale.
 */
function floatName({ name }: Value, node: Node, names: TensorNames): string {
	const scale = node.inputs[1]?.name;
	const suffix = ["_q", "_quantized", "_codes"].find((end) => name.endsWith(end));
	const stripped = suffix === undefined ? "" : name.slice(0, -suffix.length);
	return stripped !== "" && scale === `${stripped}_scale` && names.find(stripped).length === 0 ? stripped : name;
}

/** A graph output is called as it is; what goes into its quantizer has a name for that alone. */
function activationName(root: Value): string {
	const output = canTakeName(root) ? quantizedOutput(root) : undefined;
	return (output ?? root).name;
}

/** The graph output that comes out of quantizers of `value`, through several pairs in a row, too. */
function quantizedOutput(value: Value): Value | undefined {
	for (const quantize of readersOf(value, "QuantizeLinear")) {
		for (const dequantize of readersOf(quantize.outputs[0]!, "DequantizeLinear")) {
			const result = dequantize.outputs[0]!;
			const output = result.isGraphOutput ? result : quantizedOutput(result);
			if (output !== undefined) return output;
		}
	}
	return undefined;
}

/** What goes into the first of the pairs that `value` comes out of. */
function rootOf(value: Value): Value {
	const { producer } = value;
	const quantize = producer?.inputs[0]?.producer;
	const isPair =
		producer !== undefined &&
		quantize?.inputs[0] !== undefined &&
		isOnnxOp(producer, "DequantizeLinear") &&
		isOnnxOp(quantize, "QuantizeLinear");
	return isPair ? rootOf(quantize.inputs[0]!) : value;
}

function readersOf({ uses }: Value, op: string): Node[] {
	return uses.filter(({ node, index }) => index === 0 && isOnnxOp(node, op)).map(({ node }) => node);
}

/** Could the value be called like the graph output that is made of it? */
export function canTakeName(source: Value): boolean {
	return source.producer !== undefined && !source.isGraphOutput && !source.isGraphInput;
}
