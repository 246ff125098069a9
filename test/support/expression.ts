import { bytesOf, floatTensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import type { Attributes, GraphBuilder } from "./build.js";

/**
 * Writes nodes as calls: `e.call("Mul", x, e.call("Add", x, 1))`. A number is a scalar constant; node and value names come
 * from the operator and a counter.
 */
export class Expression {
	readonly graph: GraphBuilder;
	readonly #dtype: DataType;
	#count = 0;

	readonly #prefix: string;

	/**
	 * @param dtype of the constants: FLOAT or FLOAT16.
	 * @param prefix of all names, different for each graph of a model.
	 */
	constructor(graph: GraphBuilder, dtype: DataType = DataType.FLOAT, prefix = "") {
		this.graph = graph;
		this.#dtype = dtype;
		this.#prefix = prefix;
	}

	call(op: string, ...inputs: readonly (string | number)[]): string {
		return this.apply(op, inputs, {});
	}

	/** The same with attributes; `op` may have a domain, `com.microsoft.Gelu`. */
	apply(op: string, inputs: readonly (string | number)[], attributes: Attributes): string {
		const name = this.#fresh(op.toLowerCase());
		const at = op.lastIndexOf(".");
		const names = inputs.map((input) => (typeof input === "number" ? this.scalar(input) : input));
		this.graph.node({ domain: op.slice(0, Math.max(at, 0)), type: op.slice(at + 1) }, names, [name], attributes, name);
		return name;
	}

	scalar(value: number): string {
		return this.constant(this.#tensor([], [value]));
	}

	/** A constant of one dimension. */
	vector(values: ArrayLike<number>): string {
		return this.constant(this.#tensor([values.length], values));
	}

	constant(value: Tensor): string {
		const name = this.#fresh("constant");
		this.graph.initializer(name, value);
		return name;
	}

	#tensor(shape: readonly number[], values: ArrayLike<number>): Tensor {
		if (this.#dtype !== DataType.FLOAT16) return floatTensor(shape, values);
		return tensor(DataType.FLOAT16, shape, bytesOf(encodeFloat16(Float32Array.from(values))));
	}

	#fresh(stem: string): string {
		this.#count++;
		return `${this.#prefix}${stem}_${this.#count}`;
	}
}
