import type { NumpyArray } from "../arrays/npz.js";
import { isOnnxOp } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { type BlockWeight, partOf, slabRanges } from "../passes/support/block-weight.js";
import { canMultiply, type FewRows, MOST_ROWS } from "../passes/support/few-rows.js";
import { isFloatType } from "../passes/support/float-source.js";
import type { TaskPool } from "../passes/support/task-pool.js";
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
	async products(
		rounded: Float32Array,
		blocks: BlockWeight,
	): Promise<{ readonly wanted: Float32Array; readonly found: Float32Array }> {
		const { dtype, data } = this.#constant;
		const source = { ...blocks, float: { dtype, data } };
		const rows: FewRows = {
			float: this.#wanted === undefined ? shared(this.#rows) : undefined,
			codes: shared(rounded),
		};
		const count = (this.#rows.length / blocks.layout.depth) * blocks.layout.channels;
		const [wanted, found] = [new Float64Array(count), new Float64Array(count)];
		await this.#pool.each(
			slabRanges(blocks.layout),
			(range) => ({ kind: "multiply", part: partOf(source, range), rows }),
			({ float, codes }) => {
				for (let index = 0; index < count; index++) found[index]! += codes[index]!;
				if (float !== undefined) for (let index = 0; index < count; index++) wanted[index]! += float[index]!;
			},
		);
		this.#wanted ??= Float32Array.from(wanted);
		return { wanted: this.#wanted, found: Float32Array.from(found) };
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
