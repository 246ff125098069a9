import type { Model } from "../ir/model.js";
import type { KnownValues } from "./known-values.js";
import type { OperatorFacts } from "./operator-facts.js";
import type { HtpArchitecture } from "./target.js";
import type { TypeSource } from "./type-source.js";

/**
 * What becomes of an operator that breaks a rule: the compiler refuses it, its process ends, it compiles and computes
 * something else, or it is computed right but slower or less exactly than it could be.
 */
export type Consequence = "refused" | "crash" | "wrong" | "slow";

/** What holds for the whole compilation. */
export interface RuleContext {
	readonly architecture: HtpArchitecture;
	/** QNN's option `enable_block_quant_weight_optimization`: are block scales made LPBQ? */
	readonly blockQuantOptimization: boolean;
	/** Before 4, constants that are inputs of the graph too are constant all the same. */
	readonly irVersion: number;
	/** Of values that are no operands of the operator. */
	readonly types: TypeSource;
	readonly known: KnownValues;
	/** What `make` finds in the whole model; it is asked once. */
	analysis<T>(make: (model: Model) => T): T;
}

/** One thing that the HTP does not take, or takes and gets wrong. */
export interface Rule {
	readonly id: `htp/${string}`;
	/** What must hold, one sentence. */
	readonly about: string;
	readonly consequence: Consequence;
	/** First and last architecture that it holds for; all where absent. */
	readonly since?: HtpArchitecture;
	readonly until?: HtpArchitecture;
	/** What was seen on the compiler and emulator of QNN 2.51: SQNR against ONNX Runtime's CPU, or the error. */
	readonly measured: string;
	/** What to do about it. */
	readonly remedy: string;
	/** The pass that does so. */
	readonly appliedBy?: string;
	/** Does the pass need to know the range of what the operator reads? Then nothing but quantizing activations helps where that is float. */
	readonly needsEncodings?: true;
	/** What is at fault, with the values found; undefined where the rule is kept. */
	broken(operator: OperatorFacts, context: RuleContext): string | undefined;
}

/** Rules about one subject. */
export interface RuleGroup {
	readonly title: string;
	readonly rules: readonly Rule[];
}
