import { intsAttribute } from "../../ir/attribute.js";
import { int64Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { einsumEquation } from "../../targets/einsum.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, type Encoding, encodingAt, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";

/** A value whose axes are called by letters. */
interface Named {
	readonly value: Value;
	readonly axes: string;
	/** What moves it stays in this encoding. */
	readonly encoding: Encoding | undefined;
}

/**
 * An Einsum of one operand -> Transpose; of two -> Transpose and Reshape around a MatMul, or a Mul where nothing is summed.
 * Those that sum over an axis of one operand, or repeat a length of 1, stay.
 */
export const lowerEinsum: Remedy = (operator, { names }) => {
	const { node, inputs, outputs } = operator;
	const equation = einsumEquation(operator);
	const lengths = equation && lengthsOf(equation.terms, inputs);
	if (equation === undefined || lengths === undefined || equation.terms.length > 2) return false;
	const { terms, output } = equation;
	const isKept = (letter: string) => output.includes(letter);
	const [first, second] = terms as [string, string | undefined];
	const summed = [...first].filter((letter) => !isKept(letter));
	const others = second === undefined ? [] : [...second].filter((letter) => !isKept(letter));
	if (
		summed.join("") !==
		others
			.filter((letter) => first.includes(letter))
			.sort(byPlace(first))
			.join("")
	)
		return false;
	if (others.length !== summed.length) return false;

	const graph = node.graph!;
	const writer = new NodeWriter(node, names);
	const rounded = (value: Value, encoding: Encoding | undefined) =>
		encoding === undefined ? value : addQdq(graph, value, encoding, names, node);
	const ordered = ({ value, axes, encoding }: Named, order: string): Named => {
		if (axes === order) return { value, axes, encoding };
		const perm = intsAttribute([...order].map((letter) => axes.indexOf(letter)));
		return { value: rounded(writer.emit("Transpose", [value], { perm }, "ordered"), encoding), axes: order, encoding };
	};
	const lengthOf = (letters: string) => elementCount([...letters].map((letter) => lengths.get(letter)!));
	const shaped = ({ value, encoding }: Named, shape: readonly number[]) => {
		const target = writer.constant("shape", int64Tensor([shape.length], shape));
		return rounded(writer.emit("Reshape", [value, target], {}, "shaped"), encoding);
	};
	const operand = (index: number): Named => ({
		value: node.inputs[index]!,
		axes: terms[index]!,
		encoding: encodingBehind(node.inputs[index]),
	});
	const finish = (result: Named) => {
		const perm = intsAttribute([...output].map((letter) => result.axes.indexOf(letter)));
		const isOrdered = result.axes === output;
		const target = writer.constant(
			"result_shape",
			int64Tensor(
				[output.length],
				[...output].map((one) => lengths.get(one)!),
			),
		);
		writer.give(
			0,
			isOrdered
				? writer.emit("Reshape", [result.value, target], {}, "result")
				: writer.emit("Transpose", [result.value], { perm }, "result"),
		);
		writer.finish();
		return true;
	};
	if (second === undefined) return finish({ ...operand(0), axes: first === output ? output : first });

	const quantizer = outputs[0]!.quantization?.node;
	const encoding = quantizer && encodingAt(quantizer);
	const shared = [...output].filter((letter) => first.includes(letter) && second.includes(letter)).join("");
	const own = (term: string) =>
		[...output].filter((letter) => term.includes(letter) && !shared.includes(letter)).join("");
	const depth = summed.join("");
	const [rows, columns] = [own(first), own(second)];
	const axes = shared + rows + columns;
	const dims = [...axes].map((letter) => lengths.get(letter)!);
	if (depth === "") {
		const spread = (side: Named, letters: string) => {
			const order = [...axes].filter((letter) => letters.includes(letter)).join("");
			return shaped(
				ordered(side, order),
				[...axes].map((letter) => (letters.includes(letter) ? lengths.get(letter)! : 1)),
			);
		};
		const product = writer.emit("Mul", [spread(operand(0), first), spread(operand(1), second)], {}, "product");
		return finish({ value: rounded(product, encoding), axes, encoding });
	}
	const [batch, height, inner, width] = [shared, rows, depth, columns].map(lengthOf) as [
		number,
		number,
		number,
		number,
	];
	const left = shaped(ordered(operand(0), shared + rows + depth), [batch, height, inner]);
	const right = shaped(ordered(operand(1), shared + depth + columns), [batch, inner, width]);
	const product = rounded(writer.emit("MatMul", [left, right], {}, "product"), encoding);
	if (axes === output) return finish({ value: product, axes, encoding });
	return finish({ value: shaped({ value: product, axes, encoding }, dims), axes, encoding });
};

const byPlace = (term: string) => (a: string, b: string) => term.indexOf(a) - term.indexOf(b);

/** The length of every axis; undefined where one is not known, or not the same in all terms. */
function lengthsOf(
	terms: readonly string[],
	inputs: Parameters<Remedy>[0]["inputs"],
): ReadonlyMap<string, number> | undefined {
	const lengths = new Map<string, number>();
	for (const [index, term] of terms.entries()) {
		const shape = inputs[index]?.shape;
		if (shape?.length !== term.length) return undefined;
		for (const [axis, letter] of [...term].entries()) {
			const length = shape[axis];
			if (typeof length !== "number" || (lengths.get(letter) ?? length) !== length) return undefined;
			lengths.set(letter, length);
		}
	}
	return lengths;
}
