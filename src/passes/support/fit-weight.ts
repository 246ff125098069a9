import type { Tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Conversion } from "./conversion.js";
import type { Refusal } from "./eligibility.js";
import { fitFloatWeight } from "./float-lpbq.js";
import { fitMax, type LpbqFit } from "./lpbq-fit.js";
import { fitSearch } from "./lpbq-search.js";
import { DEFAULT_EXPONENT } from "./quantized-weight.js";
import { hasExactLpbqScales, type ScaleScan, scanScales } from "./scale-scan.js";
import type { Spool } from "./spool.js";
import type { TaskPool } from "./task-pool.js";

export interface FitOptions {
	readonly fit: "max" | "search";
	/** Of the error that `search` minimizes; 0: 2 for block-quantized references, 4 for float ones. */
	readonly exponent: number;
}

export interface FittedWeight {
	readonly fit: LpbqFit;
	readonly scan: ScaleScan;
	/** What the fit came close to. */
	readonly reference: "bq" | "float";
}

/** Of the error that `search` minimizes, where what BQ left of the weights is the reference. */
const BQ_EXPONENT = 2;

/** Smallest normal float16: its sixteenth still has seven digits. */
const SMALLEST_HALF = 2 ** -14;

/** Finds scales and codes for one weight, or the reason why there are none. */
export async function fitWeight(
	conversion: Conversion,
	floatWeight: Tensor | undefined,
	options: FitOptions,
	pool: TaskPool,
	spool: Spool,
): Promise<FittedWeight | { readonly refusal: Refusal }> {
	const name = conversion.sites[0]!.weightName;
	const refuse = (code: Refusal["code"], message: string) => ({ refusal: { code, message } });
	const weight = { ...conversion.weight, float: floatWeight };
	const scan = await scanScales(weight, pool);
	if (!scan.finite) return refuse("weight/scale-not-finite", `a scale of weight '${name}' is infinite or not a number`);
	const isHalf = conversion.sites[0]!.dequantization!.scale!.tensor.dtype === DataType.FLOAT16;
	if (isHalf && scan.channelMax.some((scale) => scale > 0 && scale < SMALLEST_HALF)) {
		return refuse(
			"weight/scale-type",
			`weight '${name}' has scales too small for LPBQ's in FLOAT16, a sixteenth of them`,
		);
	}
	if (conversion.form === "exact-bq" && scan.negative === 0 && hasExactLpbqScales(weight)) {
		return refuse("lpbq/already", `the scales of weight '${name}' are integers times a channel scale already`);
	}
	if (!scan.uniform && options.fit === "max" && floatWeight === undefined) {
		return refuse("lpbq/kernel", `the block scales of weight '${name}' differ over the positions of the kernel`);
	}
	const { form, sites } = conversion;
	if (floatWeight !== undefined) {
		const exponent = options.exponent || DEFAULT_EXPONENT;
		const float = { fit: options.fit, form, exponent, balances: true };
		return { fit: await fitFloatWeight(weight, sites[0]!.node, scan, float, pool, spool), scan, reference: "float" };
	}
	const search = { exponent: options.exponent || BQ_EXPONENT, keepsLargestInt: form === "exact-bq" };
	const fit = options.fit === "max" ? fitMax(weight, scan, pool) : await fitSearch(weight, scan, search, pool, spool);
	return { fit, scan, reference: "bq" };
}
