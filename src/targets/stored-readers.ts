import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Use } from "../ir/value.js";
import type { OperatorFacts } from "./operator-facts.js";
import { LINEAR } from "./rules/producers.js";

/** Operators that fold-weight-transpose and normalize-weights take out of the way of a weight. */
const VIEWS = ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"];

/** What reads codes with several scales where only an operator may that multiplies with them, or adds them to its products. */
interface StrangeReader {
	readonly node: Node | "output";
	/** Is it a view, behind which the weight is one? */
	readonly isView: boolean;
	/** Where the value of the codes goes in, on the way to `node`; undefined where that is an output of the graph. */
	readonly use: Use | undefined;
}

/** Those of the codes that the DequantizeLinear reads, one for each use of its result that leads to any. */
export function strangeReaders({ node, inputs }: OperatorFacts): StrangeReader[] {
	const isInt32 = inputs[0]?.constant?.dtype === DataType.INT32;
	const isLpbq = inputs[1]?.quantization !== undefined;
	const isBlock = node.attributes.has("block_size");
	const at = (use: Use): Omit<StrangeReader, "use"> | undefined => {
		const { node: reader, index } = use;
		const isOperand = isOnnxOp(reader, ...LINEAR) && (index > 0 || isLpbq);
		if (isOperand || (isOnnxOp(reader, "DequantizeLinear") && index === 1)) return undefined;
		if (isOnnxOp(reader, "Gather", "QuantizeLinear") || (isInt32 && isOnnxOp(reader, "Add"))) return undefined;
		if (!isOnnxOp(reader, "Identity", ...VIEWS)) return { node: reader, isView: false };
		const result = reader.outputs[0]!;
		if (result.isGraphOutput) return { node: "output", isView: false };
		const behind = result.uses.map(at).find((found) => found !== undefined);
		const isSeen = isOnnxOp(reader, "Identity") || (isOnnxOp(reader, "Transpose") && !isBlock) || isLpbq;
		return behind ?? (isSeen ? undefined : { node: reader, isView: true });
	};
	const result = node.outputs[0]!;
	const readers: StrangeReader[] = result.isGraphOutput ? [{ node: "output", isView: false, use: undefined }] : [];
	for (const use of result.uses) {
		const found = at(use);
		if (found !== undefined) readers.push({ ...found, use });
	}
	return readers;
}
