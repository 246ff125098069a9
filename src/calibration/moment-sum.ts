import { intAttribute, intsAttribute } from "../ir/attribute.js";
import { Graph } from "../ir/graph.js";
import { Model } from "../ir/model.js";
import { DataType, tensorType } from "../ir/types.js";
import { serializeModel } from "../onnx/file.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";

/** Rows that are collected before they are multiplied: adding a product up costs less than a tenth of it then. */
const BLOCK_ROWS = 512;

/** Up to so many inputs are multiplied here; asking ONNX Runtime would take longer. */
const SMALL_DEPTH = 64;

/** Columns are cut into strips of no fewer, of which each pair is multiplied once. */
const MIN_STRIP = 128;
const MAX_STRIPS = 6;

/** Computes X^T X of rows X with the matrix product of ONNX Runtime. */
export class GramProduct {
	readonly #threads: number | undefined;
	readonly #sessions: Map<number, LiveSession> = new Map();

	/** @param threads of a product; all cores when left out. */
	constructor(threads: number | undefined) {
		this.#threads = threads;
	}

	/** Adds x x^T of all rows x to `sums`, a triangle. */
	async addTo(sums: Float64Array, rows: Float32Array, depth: number): Promise<void> {
		const strips = stripsOf(depth);
		const session = this.#sessions.get(depth) ?? (await open(depth, strips, this.#threads));
		this.#sessions.set(depth, session);
		const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
		const feeds = new Map([["rows", { type: "float32" as const, shape: [rows.length / depth, depth], bytes }]]);
		const products = await session.run(feeds);
		for (const [i, { start, length }] of strips.entries()) {
			for (const [j, other] of strips.entries()) {
				if (j < i) continue;
				const product = floatsOf(products.get(`${i} ${j}`)!);
				for (let row = 0; row < length; row++) {
					const first = i === j ? row : 0;
					const to = triangleRow(start + row, depth) + other.start + first;
					addElements(sums, to, product, row * other.length + first, other.length - first);
				}
			}
		}
	}

	async close(): Promise<void> {
		for (const session of this.#sessions.values()) await session.close();
	}
}

/** Adds elements, four a turn, which takes half the time of one a turn. */
function addElements(sums: Float64Array, to: number, product: Float32Array, from: number, count: number): void {
	let index = 0;
	for (; index < count - 3; index += 4) {
		sums[to + index]! += product[from + index]!;
		sums[to + index + 1]! += product[from + index + 1]!;
		sums[to + index + 2]! += product[from + index + 2]!;
		sums[to + index + 3]! += product[from + index + 3]!;
	}
	for (; index < count; index++) sums[to + index]! += product[from + index]!;
}

interface Strip {
	readonly start: number;
	readonly length: number;
}

/** As many strips as it takes that few products are computed twice. */
function stripsOf(depth: number): Strip[] {
	const count = Math.max(1, Math.min(MAX_STRIPS, Math.floor(depth / MIN_STRIP)));
	const starts = Array.from({ length: count + 1 }, (_, index) => Math.floor((index * depth) / count));
	return starts.slice(0, count).map((start, index) => ({ start, length: starts[index + 1]! - start }));
}

async function open(depth: number, strips: readonly Strip[], threads: number | undefined): Promise<LiveSession> {
	const model = new Model(new Graph("gram"));
	model.irVersion = 8;
	model.opsetImports.set("", 12);
	const { graph } = model;
	const rows = graph.createValue("rows");
	rows.type = tensorType(DataType.FLOAT, ["n", depth]);
	graph.addInput(rows);
	const parts = strips.map((_, index) => graph.createValue(`strip ${index}`));
	const split = intsAttribute(strips.map(({ length }) => length));
	graph.createNode({ op: "Split", inputs: [rows], outputs: parts, attributes: { axis: intAttribute(1), split } });
	for (const [i, part] of parts.entries()) {
		for (const [j, other] of parts.entries()) {
			if (j < i) continue;
			const product = graph.createValue(`${i} ${j}`);
			product.type = tensorType(DataType.FLOAT, [strips[i]!.length, strips[j]!.length]);
			graph.createNode({
				op: "Gemm",
				inputs: [part, other],
				outputs: [product],
				attributes: { transA: intAttribute(1) },
			});
			graph.addOutput(product);
		}
	}
	return LiveSession.open(await serializeModel(model), { threads });
}

/**
 * Elements of a symmetric matrix on the diagonal and above it, row by row: a matrix of 2,048 inputs has 32 MiB as doubles, and
 * there is one for each thread.
 */
export function triangleSize(depth: number): number {
	return (depth * (depth + 1)) / 2;
}

/** What a {@link MomentSum} takes: a triangle of doubles a group, and rows that wait. */
export function momentBytes(depth: number, groups: number): number {
	return 8 * groups * triangleSize(depth) + (groups > 1 ? 0 : 4 * BLOCK_ROWS * depth);
}

/** Where element 0 of a row would be; element `column` of it, from the diagonal on, is so many places behind. */
function triangleRow(row: number, depth: number): number {
	return row * depth - (row * (row + 1)) / 2;
}

/** The whole matrix, each element divided by `divisor`. */
export function wholeMatrix(triangle: Float64Array, depth: number, divisor: number): Float32Array {
	const whole = new Float32Array(depth * depth);
	for (let row = 0; row < depth; row++) {
		const from = triangleRow(row, depth);
		for (let column = row; column < depth; column++) {
			const element = triangle[from + column]! / divisor;
			whole[row * depth + column] = element;
			whole[column * depth + row] = element;
		}
	}
	return whole;
}

/** Sums of products x x^T over all rows x, group by group, in float64; rows of a block are multiplied in float32. */
export class MomentSum {
	readonly #product: GramProduct;
	readonly #depth: number;
	readonly #groups: number;
	readonly #sums: Float64Array;
	readonly #block: Float32Array;
	#filled = 0;
	#rows = 0;

	constructor(product: GramProduct, depth: number, groups: number) {
		this.#product = product;
		this.#depth = depth;
		this.#groups = groups;
		this.#sums = new Float64Array(groups * triangleSize(depth));
		// rows of several groups do not wait: there are few inputs, or few groups
		this.#block = new Float32Array(groups > 1 ? 0 : BLOCK_ROWS * depth);
	}

	/** @param rows [groups, rows, depth]. */
	async add(rows: Float32Array): Promise<void> {
		const length = rows.length / this.#groups;
		this.#rows += length / this.#depth;
		if (this.#groups > 1) {
			for (let group = 0; group < this.#groups; group++) {
				await this.#multiply(group, rows.subarray(group * length, (group + 1) * length));
			}
			return;
		}
		for (let at = 0; at < rows.length; ) {
			const count = Math.min(this.#block.length - this.#filled, rows.length - at);
			this.#block.set(rows.subarray(at, at + count), this.#filled);
			this.#filled += count;
			at += count;
			if (this.#filled === this.#block.length) await this.#flush();
		}
	}

	/** The sums, a triangle a group, and how many rows there were; nothing may be added behind it. */
	async result(): Promise<{ readonly sums: Float64Array<ArrayBuffer>; readonly rows: number }> {
		await this.#flush();
		return { sums: this.#sums as Float64Array<ArrayBuffer>, rows: this.#rows };
	}

	async #flush(): Promise<void> {
		if (this.#filled === 0) return;
		await this.#multiply(0, this.#block.subarray(0, this.#filled));
		this.#filled = 0;
	}

	async #multiply(group: number, rows: Float32Array): Promise<void> {
		const depth = this.#depth;
		const size = triangleSize(depth);
		const sums = this.#sums.subarray(group * size, (group + 1) * size);
		if (depth > SMALL_DEPTH) return this.#product.addTo(sums, rows, depth);
		for (let start = 0; start < rows.length; start += depth) {
			for (let i = 0; i < depth; i++) {
				const factor = rows[start + i]!;
				if (factor === 0) continue;
				const to = triangleRow(i, depth);
				for (let j = i; j < depth; j++) sums[to + j]! += factor * rows[start + j]!;
			}
		}
	}
}
