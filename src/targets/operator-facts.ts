import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { onnxOpset } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { DataType, Dimension } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { constantOf } from "../weights/constant.js";
import { scalarOf } from "../weights/numbers.js";
import { findWeightSites } from "../weights/weight-site.js";
import { clampBehind, isSuperfluous, movedDequantizer, movedQuantizer, quantizerBehind } from "./readers.js";
import type { TypeSource } from "./type-source.js";
import { type WeightFacts, weightFacts } from "./weight-facts.js";

/** One QuantizeLinear or DequantizeLinear, seen from the operator beside it. */
export interface QuantizationFacts {
	readonly node: Node;
	/** Of the codes. */
	readonly dtype: DataType | undefined;
	readonly granularity: "tensor" | "channel" | "block";
	/** undefined where there are several or they are computed. */
	readonly scale: number | undefined;
	/** 0 where there is no zero point; undefined where there are several or they are computed. */
	readonly zeroPoint: number | undefined;
	/** Constant scales, however many. */
	readonly scales: Tensor | undefined;
	/** The codes, where they are constant. */
	readonly codes: Tensor | undefined;
}

/** A value that an operator reads or makes. */
export interface OperandFacts {
	readonly value: Value;
	readonly dtype: DataType | undefined;
	readonly shape: readonly Dimension[] | undefined;
	/** The constant that the operator reads, with no DequantizeLinear in between. */
	readonly constant: Tensor | undefined;
	/** Of an input: the DequantizeLinear that makes it. Of an output: the QuantizeLinear that is its only reader. */
	readonly quantization: QuantizationFacts | undefined;
	/** As `quantization`, and across the views that ONNX Runtime moves quantizers across, as it does for other operators than those with weights. */
	readonly moved: QuantizationFacts | undefined;
}

/** An Add of a constant vector behind a MatMul, which ONNX Runtime makes a Gemm of the two with. */
export interface FusedAddFacts {
	readonly node: Node;
	/** The vector: the bias of that Gemm. */
	readonly addend: OperandFacts;
	readonly output: OperandFacts;
}

/** What rules look at: an operator, the quantization around it and its weight. */
export interface OperatorFacts {
	readonly node: Node;
	readonly graphSite: GraphSite;
	readonly opset: number;
	/** undefined: absent. */
	readonly inputs: readonly (OperandFacts | undefined)[];
	readonly outputs: readonly OperandFacts[];
	/** undefined: none of its inputs is a constant weight. */
	readonly weight: WeightFacts | undefined;
	/** Of a MatMul with a constant matrix: the only reader of its result, where that makes a Gemm of it. */
	readonly fusedAdd: FusedAddFacts | undefined;
	/** A Relu or Clip behind the result, or behind the fused Add, that ONNX Runtime drops, since the quantizer behind does the same. */
	readonly clamp: Node | undefined;
	/** The QuantizeLinear that alone reads the result, behind the fused Add, `clamp`, Reshape and Transpose. */
	readonly result: QuantizationFacts | undefined;
}

/** The facts of every node of a model, in order. */
export function operatorFacts(model: Model, types: TypeSource): OperatorFacts[] {
	const weights = new Map(findWeightSites(model).map((site) => [site.node, weightFacts(site)]));
	const facts: OperatorFacts[] = [];
	for (const graphSite of allGraphs(model)) {
		const opset = onnxOpset(graphSite.function ?? model) ?? 0;
		for (const node of graphSite.graph.nodes) {
			const fusedAdd = weights.has(node) ? fusedAddFacts(node, types) : undefined;
			facts.push({
				node,
				graphSite,
				opset,
				inputs: node.inputs.map((value) => value && inputFacts(value, types)),
				outputs: node.outputs.map((value) => outputFacts(value, types)),
				weight: weights.get(node),
				fusedAdd,
				...resultFacts((fusedAdd?.node ?? node).outputs[0], types),
			});
		}
	}
	return facts;
}

/** The operand that `value` is where an operator reads it. */
export function inputFacts(value: Value, types: TypeSource): OperandFacts {
	const dequantizer = movedDequantizer(value);
	const moved = dequantizer && quantizationFacts(dequantizer, dequantizer.inputs[0], types);
	return {
		value,
		dtype: types.elementTypeOf(value),
		shape: types.shapeOf(value),
		constant: constantOf(value)?.tensor,
		quantization: dequantizer === value.producer ? moved : undefined,
		moved,
	};
}

function resultFacts(value: Value | undefined, types: TypeSource): Pick<OperatorFacts, "clamp" | "result"> {
	const behind = (from: Value | undefined) => {
		const quantizer = from && quantizerBehind(from);
		return quantizer && quantizationFacts(quantizer, quantizer.outputs[0], types);
	};
	const clamp = value && clampBehind(value);
	const result = behind(clamp?.outputs[0] ?? value);
	if (clamp === undefined || isSuperfluous(clamp, result)) return { clamp, result };
	return { clamp: undefined, result: undefined };
}

function fusedAddFacts(node: Node, types: TypeSource): FusedAddFacts | undefined {
	const [use, ...others] = node.outputs[0]!.uses;
	if (!isOnnxOp(node, "MatMul") || use === undefined || others.length > 0 || node.outputs[0]!.isGraphOutput)
		return undefined;
	const add = use.node;
	const addend = add.inputs[1 - use.index];
	if (!isOnnxOp(add, "Add") || add.graph !== node.graph || addend === undefined) return undefined;
	const facts = inputFacts(addend, types);
	const stored = facts.constant ?? facts.quantization?.codes;
	if (stored?.shape.length !== 1 || stored.shape[0] !== types.shapeOf(node.inputs[1]!)?.[1]) return undefined;
	return { node: add, addend: facts, output: outputFacts(add.outputs[0]!, types) };
}

/** Facts of a value that an operator makes. */
export function outputFacts(value: Value, types: TypeSource): OperandFacts {
	const quantizer = movedQuantizer(value);
	const moved = quantizer && quantizationFacts(quantizer, quantizer.outputs[0], types);
	return {
		value,
		dtype: types.elementTypeOf(value),
		shape: types.shapeOf(value),
		constant: undefined,
		quantization: quantizer?.inputs[0] === value ? moved : undefined,
		moved,
	};
}

function quantizationFacts(node: Node, codes: Value | undefined, types: TypeSource): QuantizationFacts {
	const scale = constantOf(node.inputs[1]);
	const rank = scale === undefined ? undefined : scale.tensor.shape.length;
	const blocked = intOf(node, "block_size", 0) > 0;
	const isScalar = rank === 0 || (rank === 1 && scale?.tensor.shape[0] === 1);
	return {
		node,
		dtype: codes && types.elementTypeOf(codes),
		granularity: blocked ? "block" : isScalar ? "tensor" : "channel",
		scale: scalarOf(scale),
		zeroPoint: node.inputs[2] === undefined ? 0 : scalarOf(constantOf(node.inputs[2])),
		scales: scale?.tensor,
		codes: constantOf(node.inputs[0])?.tensor,
	};
}
