import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { type Interval, intervalOf } from "../../quant/grid.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { encodingOfOperand } from "./encoding-remedies.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, addQuantizedConstant, coveringEncoding, type Encoding, recoded } from "./qdq.js";
import type { Tools } from "./remedy.js";
import { insertPair } from "./separate-output.js";

/** Writes operators between UINT16 codes in the place of one that reads and makes codes. */
export class CodedWriter extends NodeWriter {
	/** What the operator read, as UINT16. */
	readonly input: Value;
	/** What its codes stand for. */
	readonly range: Interval;
	readonly #node: Node;
	readonly #behind: Encoding;
	readonly #tools: Tools;

	private constructor(node: Node, read: Value, before: Encoding, behind: Encoding, tools: Tools) {
		super(node, tools.names);
		this.#node = node;
		this.#behind = behind;
		this.#tools = tools;
		this.range = intervalOf(before);
		this.input = asWide(node, read, before, tools.names);
	}

	/** undefined where what the operator reads first, or what it makes, has no codes of one scale. */
	static of({ node, inputs: [input], outputs: [output] }: OperatorFacts, tools: Tools): CodedWriter | undefined {
		const [before, behind] = [encodingOfOperand(input), encodingOfOperand(output)];
		return before && behind && new CodedWriter(node, input!.value, before, behind, tools);
	}

	/** What an operator makes, in the finest codes that reach over `range`. */
	coded(op: string, inputs: readonly Value[], range: Interval, label: string): Value {
		return this.inCodes(this.emit(op, inputs, {}, label), range);
	}

	/** `value` in the finest codes that reach over `range`. */
	inCodes(value: Value, range: Interval): Value {
		return addQdq(this.graph, value, coveringEncoding(DataType.UINT16, range), this.#tools.names, this.#node);
	}

	/** A number, as the largest or smallest code. */
	number(value: number, label: string): Value {
		const stored = { shape: [], values: [value], dtype: DataType.UINT16 };
		return addQuantizedConstant(this.graph, `${this.#node.name}_${label}`, stored, this.#tools.names, this.#node);
	}

	/** Lets `value`, emitted last, be the operator's result, in codes of UINT16 over `range` first, or over what the result's codes are. */
	close(value: Value, range?: Interval): void {
		const output = this.give(0, value);
		this.finish();
		this.#quantize(output, range);
	}

	/** Lets the operator stay, and read `value`. */
	keep(value: Value): void {
		this.#node.setInput(0, value);
		this.#quantize(this.#node.outputs[0]!, undefined);
	}

	#quantize(output: Value, range: Interval | undefined): void {
		if (range === undefined && this.#behind.dtype === DataType.UINT16) return;
		const encoding = range ? coveringEncoding(DataType.UINT16, range) : recoded(this.#behind, DataType.UINT16);
		insertPair(this.#tools.model, output, encoding, this.#tools.names);
	}
}

function asWide(node: Node, value: Value, before: Encoding, names: NameScope): Value {
	return before.dtype === DataType.UINT16
		? value
		: addQdq(node.graph!, value, recoded(before, DataType.UINT16), names, node);
}
