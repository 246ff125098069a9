import type { TensorData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import type { ErrorSum } from "../../quant/measure.js";
import type { Constant } from "../../weights/constant.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { BlockWeight } from "./block-weight.js";
import type { Refusal } from "./eligibility.js";
import type { InputMoments } from "./input-statistics.js";
import type { ConstantUse } from "./insert-quantized.js";
import type { Spool } from "./spool.js";
import type { TaskPool } from "./task-pool.js";

/** Of `search` without importance: of those that never lose to `max` end to end the one that gains most (docs/recipes.md). */
export const DEFAULT_EXPONENT = 4;

/** How scales and codes are found. */
export interface WeightFitOptions {
	/** `max` is AIMET's arithmetic, `search` finds the least sum of |error|^exponent. */
	readonly fit: "max" | "search";
	readonly exponent: number;
	/** Smallest 4-bit code of a search in blocks. */
	readonly codeMin: -8 | -7;
	/** Factor of every error by input channel, [depth]. */
	readonly importance: Float64Array | undefined;
	/** Second moments of the layer's input, for GPTQ. */
	readonly moments: InputMoments | undefined;
}

/** A float constant with the operators that read it in the same way. */
export interface FloatWeight {
	readonly constant: Constant;
	/** Uses as a weight; none for the table of a Gather. */
	readonly sites: readonly WeightSite[];
	readonly uses: readonly ConstantUse[];
}

/** What a weight is to become. Nothing is changed until `insert` is called. */
export interface QuantizedWeight {
	/** For the report: double-dq, exact-bq, bq, per-channel, per-tensor or fp16. */
	readonly form: string;
	/** How codes were found, where it is not as asked for. */
	readonly fit?: "gptq";
	/** Bytes of codes and scales. */
	readonly bytes: number;
	insert(names: NameScope): void;
	/** Measures, where the error is not known yet. */
	readonly error: () => Promise<ErrorSum>;
	readonly errorOfMax?: ErrorSum | undefined;
	/** The largest magnitude of the weights; undefined where that was not looked at. */
	readonly largest?: number;
	/** FLOAT, what the codes stand for, in the order of the weight; undefined where the weight stays float. */
	readonly values?: TensorData;
	/** The codes and scales of weights in blocks, to be read before they are inserted. */
	readonly blocks?: BlockWeight;
}

/** Where work on all cores and its results go. */
export interface QuantizeTools {
	readonly pool: TaskPool;
	readonly spool: Spool;
}

/** What is said of weights that no scale fits. */
export function notFinite({ value }: Constant): Refusal {
	return { code: "weight/not-finite", message: `a value of weight '${value.name}' is infinite or not a number` };
}
