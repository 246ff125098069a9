import { computedData } from "../../ir/data.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant, type Constant } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import { addParameters, codesOf, type Encoding } from "./qdq.js";

/**
 * Puts a float constant into the graph once more, as codes of one scale behind a DequantizeLinear, and returns what comes
 * out of that.
 */
export function addEncodedConstant(
	graph: Graph,
	{ value: { name }, tensor: floats }: Constant,
	encoding: Encoding,
	names: NameScope,
	before: Node,
): Value {
	const stored = addConstant(graph, names.fresh(`${name}_codes`), encodedTensor(floats, encoding), before);
	const inputs = [stored, ...addParameters(graph, name, encoding, names, before)];
	const result = graph.createValue(names.fresh(`${name}_dq`));
	graph.createNode({ op: "DequantizeLinear", name: names.fresh(`${name}_DQ`), inputs, outputs: [result] }, before);
	return result;
}

/** Floats as codes, made when they are read; what lies outside of the encoding becomes its first or last code. */
export function encodedTensor(floats: Tensor, encoding: Encoding): Tensor {
	const { shape } = floats;
	const bytesPerCode = bitsPerElement(encoding.dtype)! / 8;
	const data = computedData(elementCount(shape) * bytesPerCode, (start, end) => {
		const first = Math.floor(start / bytesPerCode);
		const values = elementsOf(floats, first, Math.ceil(end / bytesPerCode) - first)!;
		return codesOf(values, encoding).subarray(start - first * bytesPerCode, end - first * bytesPerCode);
	});
	return tensor(encoding.dtype, shape, data);
}
