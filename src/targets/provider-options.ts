import { inferTypes } from "../inference/index.js";
import type { Model } from "../ir/model.js";
import { type OperatorFacts, operatorFacts } from "./operator-facts.js";
import { chipOf, type Target } from "./target.js";
import { typeSource } from "./type-source.js";

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
	const hasExact = operators.some(({ weight }) => weight?.isExact === true);
	return {
		soc_model: String(chipOf(target).model),
		htp_arch: target.architecture.slice(1),
		enable_block_quant_weight_optimization: hasExact ? "1" : "0",
		offload_graph_io_quantization: "0",
	};
}
