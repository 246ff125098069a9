import { bytesFrom, elementTypeOf } from "../arrays/element-type.js";
import { QGraphError } from "../diagnostics.js";
import { statedType } from "../inference/stated.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { type Tensor, tensor } from "../ir/tensor.js";
import { elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { addConstant } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";
import { restateTypes } from "./support/restate-types.js";

/** Options of {@link fixInputs}. */
export interface FixInputsOptions {
	readonly inputValue: readonly string[];
}

/**
 * `Equal(sr, 16000)` -> `Equal(sr_value, 16000)`: what reads an input reads a constant, so that all that follows from it is
 * known, shapes too. The input stays, unused, so that callers may go on giving it.
 */
export const fixInputs = definePass<FixInputsOptions>({
	name: "fix-inputs",
	summary: "Make inputs constants for what reads them, such as a sampling rate that an If depends on.",
	options: {
		inputValue: {
			default: [] as readonly string[],
			describe: "number that an input always is: 'sr=16000', of a vector 'size=224,224'",
		},
	},
	run(model, context) {
		const names = new NameScope(model);
		let changed = false;
		for (const text of context.options.inputValue) {
			const { input, constant } = inputConstant(model, text);
			if (input.uses.length === 0) continue;
			input.replaceUsesWith(addConstant(model.graph, names.fresh(`${input.name}_value`), constant, undefined));
			if (input.isGraphOutput) {
				const message = `input '${input.name}' is an output, too, which goes on being what is given`;
				context.report("inputs/output", message, { graph: model.graph.name, value: input.name });
			}
			context.count("inputs fixed");
			changed = true;
		}
		if (changed) restateTypes(model);
		return changed;
	},
});

/** What 'name=4' makes an input of `model`, and the input. Throws `inputs/bad-value` and `inputs/unknown`. */
export function inputConstant(model: Model, text: string): { readonly input: Value; readonly constant: Tensor } {
	const at = text.indexOf("=");
	const numbers = text
		.slice(at + 1)
		.split(",")
		.map(numberOf);
	if (at < 1 || numbers.some(Number.isNaN)) {
		throw new QGraphError("inputs/bad-value", `'${text}' is no value of an input; expected 'name=4' or 'name=4,5'`);
	}
	const name = text.slice(0, at);
	const given = model.graph.inputs.filter((input) => input.initializer === undefined);
	const input = given.find((candidate) => candidate.name === name);
	if (input === undefined) {
		const all = given.map((candidate) => `'${candidate.name}'`).join(", ");
		throw new QGraphError("inputs/unknown", `no input is named '${name}'; there are ${all}`, { value: name });
	}
	return { input, constant: constantFor(input, numbers, text) };
}

function numberOf(text: string): number {
	const word = text.trim();
	if (word === "true" || word === "false") return word === "true" ? 1 : 0;
	return word === "" ? Number.NaN : Number(word);
}

/** One number stands for all elements. */
function constantFor(input: Value, numbers: readonly number[], text: string): Tensor {
	const type = statedType(input);
	const dtype = type?.kind === "tensor" ? type.elementType : undefined;
	const element = dtype === undefined ? undefined : elementTypeOf(dtype);
	const shape = type?.kind === "tensor" ? type.shape : undefined;
	const fail = (problem: string) =>
		new QGraphError("inputs/bad-value", `'${text}': input '${input.name}' ${problem}`, { value: input.name });
	if (dtype === undefined || element === undefined) throw fail("is no tensor of numbers");
	if (!shape?.every((length): length is number => typeof length === "number")) {
		throw fail("has no fixed shape; fix it with --dim first");
	}
	const count = elementCount(shape);
	if (numbers.length !== 1 && numbers.length !== count) throw fail(`has ${count} elements, not ${numbers.length}`);
	if (!element.startsWith("float") && !numbers.every(Number.isInteger))
		throw fail(`is ${element}, expected whole numbers`);
	const values = Array.from({ length: count }, (_, index) => numbers[numbers.length === 1 ? 0 : index]!);
	return tensor(dtype, shape, bytesFrom(element, values));
}
