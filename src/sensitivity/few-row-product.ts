import type { NumpyArray } from "../arrays/npz.js";
import { isOnnxOp } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { type BlockWeight, partOf, slabRanges } from "../passes/support/block-weight.js";
import { canMultiply, type FewRows, MOST_ROWS, type Products } from "../passes/support/few-rows.js";
import { isFloatType } from "../passes/support/float-source.js";
import type { CodesChoice } from "../passes/support/made-codes.js";
import type { TaskPool } from "../passes/support/task-pool.js";
import type { ErrorSum } from "../quant/measure.js";
import { floatsOf } from "../runtime/live-session.js";
import type { KeptInput } from "./layer-inputs.js";
import type { OperatorInputs } from "./part-model.js";

/** A MatMul of so few rows that its time is that of reading the weights: done range by range, where these are read. */
export class FewRowProduct {
	readonly #rows: Float32Array;
	readonly #constant: Tensor;
	readonly #pool: TaskPool;
	#wanted: Float32Array | undefined;

	private constructor(rows: Float32Array, constant: Tensor, pool: TaskPool) {
		this.#rows = rows;
		this.#constant = constant;
		this.#pool = pool;
	}

	/** Undefined where the operator is no MatMul of few rows with a float matrix. */
	static of(
		{ node, weight }: OperatorInputs,
		kept: readonly KeptInput[],
		constant: Tensor | undefined,
		pool: TaskPool,
	): FewRowProduct | undefined {
		const rows = kept.length === 1 ? kept[0]!.plain[0]! : undefined;
		if (constant === undefined || rows === undefined || weight !== 1 || !isOnnxOp(node, "MatMul")) return undefined;
		const isMatrix = constant.shape.length === 2 && isFloatType(constant.dtype);
		return isMatrix && isFew(rows, constant) ? new FewRowProduct(floatsOf(rows), constant, pool) : undefined;
	}

	/** Can it be multiplied with these codes? */
	canTake(blocks: BlockWeight): boolean {
		return canMultiply(blocks) && blocks.layout.depth === this.#constant.shape[0];
	}

	/** What the kept rows become, and `rounded` with the codes. */
	async products(rounded: Float32Array, blocks: BlockWeight): Promise<RowProducts> {
		const { dtype, data } = this.#constant;
		const source = { ...blocks, float: { dtype, data } };
		const rows = this.#rowsWith(rounded);
		const sums = this.#sumsOf(blocks);
		await this.#pool.each(
			slabRanges(blocks.layout),
			(range) => ({ kind: "multiply", part: partOf(source, range), rows }),
			(products) => sums.add(products),
		);
		return this.#found(sums);
	}

	/** The same with codes that are chosen meanwhile and kept by nobody, and what these lose of the weights. */
	async measureCodes(
		rounded: Float32Array,
		source: BlockWeight,
		choice: CodesChoice,
	): Promise<RowProducts & { readonly weights: ErrorSum }> {
		const rows = this.#rowsWith(rounded);
		const sums = this.#sumsOf(source);
		const weights = { signal: 0, error: 0 };
		await this.#pool.each(
			slabRanges(source.layout),
			(range) => ({ kind: "measure-codes", part: partOf(source, range), choice, rows }),
			({ products, error }) => {
				sums.add(products);
				weights.signal += error.signal;
				weights.error += error.error;
			},
		);
		return { ...this.#found(sums), weights };
	}

	#rowsWith(rounded: Float32Array): FewRows {
		return { float: this.#wanted === undefined ? shared(this.#rows) : undefined, codes: shared(rounded) };
	}

	#sumsOf({ layout }: BlockWeight): ProductSums {
		return new ProductSums((this.#rows.length / layout.depth) * layout.channels);
	}

	#found({ float, codes }: ProductSums): RowProducts {
		this.#wanted ??= Float32Array.from(float);
		return { wanted: this.#wanted, found: Float32Array.from(codes) };
	}
}

/** What kept rows become with the float weights and with codes. */
export interface RowProducts {
	readonly wanted: Float32Array;
	readonly found: Float32Array;
}

/** Products of all parts of a weight. */
class ProductSums {
	readonly float: Float64Array;
	readonly codes: Float64Array;

	constructor(count: number) {
		this.float = new Float64Array(count);
		this.codes = new Float64Array(count);
	}

	add({ float, codes }: Products): void {
		for (let index = 0; index < codes.length; index++) this.codes[index]! += codes[index]!;
		if (float !== undefined) for (let index = 0; index < float.length; index++) this.float[index]! += float[index]!;
	}
}

function isFew({ shape }: NumpyArray, constant: Tensor): boolean {
	return shape.length === 2 && shape[0]! <= MOST_ROWS && shape[1] === constant.shape[0];
}

/** A copy that threads share. */
function shared(elements: Float32Array): Float32Array {
	const copy = new Float32Array(new SharedArrayBuffer(elements.byteLength));
	copy.set(elements);
	return copy;
}
