import { intAttribute } from "../ir/attribute.js";
import { Graph } from "../ir/graph.js";
import { Model } from "../ir/model.js";
import { DataType, tensorType } from "../ir/types.js";
import { serializeModel } from "../onnx/file.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";

/** Elements of rows that are collected before they are multiplied: few products of long columns cost least. */
const BLOCK_ELEMENTS = 2 ** 20;
const MIN_BLOCK_ROWS = 64;

/** Computes X^T X of rows X with the matrix product of ONNX Runtime. */
export class GramProduct {
	readonly #session: LiveSession;

	private constructor(session: LiveSession) {
		this.#session = session;
	}

	static async open(threads: number | undefined): Promise<GramProduct> {
		const model = new Model(new Graph("gram"));
		model.irVersion = 8;
		model.opsetImports.set("", 13);
		const { graph } = model;
		const [rows, product] = [graph.createValue("rows"), graph.createValue("product")];
		rows.type = tensorType(DataType.FLOAT, ["n", "k"]);
		product.type = tensorType(DataType.FLOAT, ["k", "k"]);
		graph.addInput(rows);
		const attributes = { transA: intAttribute(1) };
		graph.createNode({ op: "Gemm", inputs: [rows, rows], outputs: [product], attributes });
		graph.addOutput(product);
		return new GramProduct(await LiveSession.open(await serializeModel(model), { threads }));
	}

	async of(rows: Float32Array, depth: number): Promise<Float32Array> {
		const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
		const feeds = new Map([["rows", { type: "float32" as const, shape: [rows.length / depth, depth], bytes }]]);
		return floatsOf((await this.#session.run(feeds)).get("product")!);
	}

	async close(): Promise<void> {
		await this.#session.close();
	}
}

/** Sums of products x x^T over all rows x, in float64; rows of a block are multiplied in float32. */
export class MomentSum {
	readonly #product: GramProduct;
	readonly #depth: number;
	readonly #sums: Float64Array;
	readonly #block: Float32Array;
	#filled = 0;
	#rows = 0;

	constructor(product: GramProduct, depth: number) {
		this.#product = product;
		this.#depth = depth;
		this.#sums = new Float64Array(depth * depth);
		this.#block = new Float32Array(Math.max(MIN_BLOCK_ROWS, Math.floor(BLOCK_ELEMENTS / depth)) * depth);
	}

	/** @param rows [rows, depth]. */
	async add(rows: Float32Array): Promise<void> {
		this.#rows += rows.length / this.#depth;
		for (let at = 0; at < rows.length; ) {
			const count = Math.min(this.#block.length - this.#filled, rows.length - at);
			this.#block.set(rows.subarray(at, at + count), this.#filled);
			this.#filled += count;
			at += count;
			if (this.#filled === this.#block.length) await this.#flush();
		}
	}

	/** The sums, [depth, depth], and how many rows there were. */
	async result(): Promise<{ readonly sums: Float64Array<ArrayBuffer>; readonly rows: number }> {
		await this.#flush();
		return { sums: this.#sums as Float64Array<ArrayBuffer>, rows: this.#rows };
	}

	async #flush(): Promise<void> {
		if (this.#filled === 0) return;
		const product = await this.#product.of(this.#block.subarray(0, this.#filled), this.#depth);
		for (let index = 0; index < product.length; index++) this.#sums[index]! += product[index]!;
		this.#filled = 0;
	}
}
