import { inferTypes } from "../inference/index.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { HTP_CAPABILITIES } from "./capabilities.js";
import { isComputedLpbqShape } from "./lpbq-blocks.js";
import { type OperatorFacts, operatorFacts } from "./operator-facts.js";
import { chipOf, type Target } from "./target.js";
import { typeSource } from "./type-source.js";
import type { WeightFacts } from "./weight-facts.js";

/** Options of ONNX Runtime's QNN execution provider. */
export interface ProviderOptions {
	/** QNN's number of a chip: with `htp_arch` alone the compiler assumes the memory and the float support of a v68. */
	readonly soc_model: string;
	readonly htp_arch: string;
	/** "1": block scales are made LPBQ, rounded where they are not such products. */
	readonly enable_block_quant_weight_optimization: "0" | "1";
	/** "0": quantizing the graph's inputs and dequantizing its outputs is done on the HTP. */
	readonly offload_graph_io_quantization: "0" | "1";
}

/** The options that `model` is to be compiled with for `target`. Reads the block scales of weights that have some. */
export function providerOptions(model: Model, target: Target): ProviderOptions {
	return providerOptionsFor(operatorFacts(model, typeSource(inferTypes(model))), target);
}

/** As {@link providerOptions}, for a model whose facts are known. */
export function providerOptionsFor(operators: readonly OperatorFacts[], target: Target): ProviderOptions {
	return {
		soc_model: String(chipOf(target).model),
		htp_arch: target.architecture.slice(1),
		enable_block_quant_weight_optimization: makesLpbq(operators, target) ? "1" : "0",
		offload_graph_io_quantization: "0",
	};
}

/**
 * QNN is to make LPBQ of block scales where these are such products. Where one weight is none, it would be rounded; then all
 * are computed in fp16 as they are, which v68 cannot.
 */
function makesLpbq(operators: readonly OperatorFacts[], { architecture }: Target): boolean {
	const weights = operators.filter(becomesLpbq).map(({ weight }) => weight!);
	if (!HTP_CAPABILITIES[architecture].blockWeights) return weights.some(({ isExact }) => isExact);
	const isLpbq = ({ isExact, depth, blockSize, channels }: WeightFacts) =>
		isExact && isComputedLpbqShape(depth, blockSize, channels);
	return weights.length > 0 && weights.every(isLpbq);
}

/** Does QNN make LPBQ of the operator's weight where it may? It does so for symmetric INT4 in MatMul and Conv. */
export function becomesLpbq({ node, weight }: OperatorFacts): boolean {
	return !isOnnxOp(node, "Gemm") && weight?.scheme === "block" && weight.dtype === DataType.INT4;
}
