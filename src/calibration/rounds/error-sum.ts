import { intAttribute } from "../../ir/attribute.js";
import { Graph } from "../../ir/graph.js";
import { Model } from "../../ir/model.js";
import { bytesOf } from "../../ir/tensor.js";
import { DataType, tensorType } from "../../ir/types.js";
import { serializeModel } from "../../onnx/file.js";
import { floatsOf, LiveSession } from "../../runtime/live-session.js";

/** Elements of rows that are collected before they are multiplied. */
const BLOCK_ELEMENTS = 2 ** 20;
const MIN_BLOCK_ROWS = 64;

/** Multiplies rows of errors with rows of inputs, with the matrix product of ONNX Runtime. */
export class RowProduct {
	#session: LiveSession | undefined;

	/**
	 * @param errors [rows, channels].
	 * @param inputs [rows, depth].
	 * @returns sums over the rows, [channels, depth].
	 */
	async multiply(errors: Float32Array, inputs: Float32Array, channels: number, depth: number): Promise<Float32Array> {
		this.#session ??= await LiveSession.open(await productModel());
		const rows = inputs.length / depth;
		const feed = (values: Float32Array, width: number) =>
			({ type: "float32", shape: [rows, width], bytes: bytesOf(values) }) as const;
		const feeds = new Map([
			["errors", feed(errors, channels)],
			["inputs", feed(inputs, depth)],
		]);
		return floatsOf((await this.#session.run(feeds)).get("product")!);
	}

	async close(): Promise<void> {
		await this.#session?.close();
	}
}

async function productModel(): Promise<Uint8Array> {
	const model = new Model(new Graph("product"));
	model.irVersion = 8;
	model.opsetImports.set("", 12);
	const { graph } = model;
	const inputs = ["errors", "inputs"].map((name) => graph.createValue(name, tensorType(DataType.FLOAT, ["n", name])));
	for (const input of inputs) graph.addInput(input);
	const product = graph.createValue("product", tensorType(DataType.FLOAT, ["errors", "inputs"]));
	graph.createNode({ op: "Gemm", inputs, outputs: [product], attributes: { transA: intAttribute(1) } });
	graph.addOutput(product);
	return serializeModel(model);
}

/** Sums of products of errors of outputs and inputs over all rows, group by group, in float64. */
export class ErrorSum {
	readonly #product: RowProduct;
	readonly #depth: number;
	readonly #groups: number;
	/** Of a group. */
	readonly #channels: number;
	readonly #sums: Float64Array;
	readonly #errors: Float32Array;
	readonly #inputs: Float32Array;
	#filled = 0;
	#rows = 0;

	/** @param channels of all groups. */
	constructor(product: RowProduct, depth: number, groups: number, channels: number) {
		this.#product = product;
		this.#depth = depth;
		this.#groups = groups;
		this.#channels = channels / groups;
		this.#sums = new Float64Array(channels * depth);
		const rows = groups > 1 ? 0 : Math.max(MIN_BLOCK_ROWS, Math.floor(BLOCK_ELEMENTS / Math.max(depth, channels)));
		this.#errors = new Float32Array(rows * channels);
		this.#inputs = new Float32Array(rows * depth);
	}

	/**
	 * @param errors [groups, rows, channels of a group].
	 * @param inputs [groups, rows, depth].
	 */
	async add(errors: Float32Array, inputs: Float32Array): Promise<void> {
		const [depth, channels] = [this.#depth, this.#channels];
		const rows = inputs.length / this.#groups / depth;
		this.#rows += rows;
		if (this.#groups > 1) {
			this.#addGroups(errors, inputs, rows);
			return;
		}
		const room = this.#inputs.length / depth;
		for (let row = 0; row < rows; ) {
			const count = Math.min(room - this.#filled, rows - row);
			this.#errors.set(errors.subarray(row * channels, (row + count) * channels), this.#filled * channels);
			this.#inputs.set(inputs.subarray(row * depth, (row + count) * depth), this.#filled * depth);
			this.#filled += count;
			row += count;
			if (this.#filled === room) await this.#flush();
		}
	}

	/** The means over all rows, [channels, depth]; nothing may be added behind it. */
	async means(): Promise<Float32Array> {
		await this.#flush();
		return Float32Array.from(this.#sums, (sum) => sum / this.#rows);
	}

	/** Groups have few inputs and channels each. */
	#addGroups(errors: Float32Array, inputs: Float32Array, rows: number): void {
		const [depth, channels] = [this.#depth, this.#channels];
		for (let row = 0; row < this.#groups * rows; row++) {
			const to = Math.floor(row / rows) * channels * depth;
			for (let channel = 0; channel < channels; channel++) {
				const error = errors[row * channels + channel]!;
				for (let i = 0; i < depth; i++) this.#sums[to + channel * depth + i]! += error * inputs[row * depth + i]!;
			}
		}
	}

	async #flush(): Promise<void> {
		if (this.#filled === 0) return;
		const [depth, channels] = [this.#depth, this.#channels];
		const products = await this.#product.multiply(
			this.#errors.subarray(0, this.#filled * channels),
			this.#inputs.subarray(0, this.#filled * depth),
			channels,
			depth,
		);
		for (let index = 0; index < products.length; index++) this.#sums[index]! += products[index]!;
		this.#filled = 0;
	}
}
