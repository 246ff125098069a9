import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Balance } from "./balanced-codes.js";
import type { BlockWeight } from "./block-weight.js";
import type { LpbqForm } from "./conversion.js";
import type { LpbqFit } from "./lpbq-fit.js";
import { fitSearch, type SearchOptions } from "./lpbq-search.js";
import type { ScaleScan } from "./scale-scan.js";
import type { Spool } from "./spool.js";
import { fitFloatMax } from "./spooled-codes.js";
import type { TaskPool } from "./task-pool.js";

export interface FloatFitOptions extends Pick<SearchOptions, "exponent" | "codeMin" | "importance"> {
	readonly fit: "max" | "search";
	readonly form: LpbqForm;
	/** Are errors made to add up to nothing (quant/balance.ts)? Not where other codes will be chosen on the scales. */
	readonly balances: boolean;
}

/** LPBQ of a float weight, whichever pass asks for it. `node` is an operator that reads it. */
export async function fitFloatWeight(
	weight: BlockWeight,
	node: Node,
	scan: ScaleScan,
	{ fit, form, balances, ...search }: FloatFitOptions,
	pool: TaskPool,
	spool: Spool,
): Promise<LpbqFit> {
	if (fit === "max") return fitFloatMax(weight, scan, pool, spool);
	const balance = balances ? balanceFor(node) : undefined;
	return fitSearch(weight, scan, { ...search, keepsLargestInt: form === "exact-bq", balance }, pool, spool);
}

/** Behind MatMul and Gemm a norm takes care of the gain; the norms behind convolutions are part of their weights. */
function balanceFor(node: Node): Balance {
	return isOnnxOp(node, "Conv", "ConvTranspose") ? "offset-and-gain" : "offset";
}
