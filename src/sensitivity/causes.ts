import { isFloat } from "../arrays/element-type.js";
import type { Node } from "../ir/node.js";
import { floatsOf } from "../runtime/live-session.js";
import type { SensitivityUnit, UnitPart } from "./find-sensitivity-units.js";
import { floatArray } from "./isolated-noise.js";
import type { InputKeeper } from "./layer-inputs.js";
import { median } from "./statistics.js";

/** From here on something is worth a word: what ordinary layers stay well below. */
const [LARGE_CHANNEL, WIDE_INPUT, FAR_WEIGHT] = [20, 200, 20];

/** What there is about the inputs and weights of a unit that quantization does not like. */
export function causesOf(unit: SensitivityUnit, inputs: ReadonlyMap<Node, InputKeeper>): string[] {
	const causes = unit.parts.flatMap((part) => [
		...weightCauses(part),
		...part.operators.flatMap((node) => inputCauses(inputs.get(node))),
	]);
	return [...new Set(causes)];
}

function inputCauses(keeper: InputKeeper | undefined): string[] {
	const array = keeper?.kept[0]?.plain[0];
	if (array === undefined || !isFloat(array.type)) return [];
	const elements = floatsOf(array);
	const causes: string[] = [];
	const depth = array.shape.at(-1) ?? 1;
	// rows only: channels of convolutions do not lie along the last axis
	if (array.shape.length === 2 && depth > 1) {
		const sums = new Float64Array(depth);
		for (const [index, element] of elements.entries()) sums[index % depth]! += element * element;
		const typical = median([...sums]);
		const channel = sums.indexOf(Math.max(...sums));
		const ratio = Math.sqrt(sums[channel]! / typical);
		if (typical > 0 && ratio > LARGE_CHANNEL) {
			causes.push(`input channel ${channel} is ${ratio.toFixed(0)} times as large as the median one`);
		}
	}
	const ratio = largestTo(elements);
	if (ratio > WIDE_INPUT) causes.push(`its input reaches to ${ratio.toFixed(0)} times its root mean square`);
	return causes;
}

function weightCauses({ constant }: UnitPart): string[] {
	if (constant === undefined) return [];
	const elements = floatsOf(floatArray(constant.tensor));
	const ratio = largestTo(elements);
	return ratio > FAR_WEIGHT ? [`a weight is ${ratio.toFixed(0)} times the root mean square of all`] : [];
}

/** How many times the root mean square the largest element is. */
function largestTo(elements: Float32Array): number {
	let [largest, squares] = [0, 0];
	for (let index = 0; index < elements.length; index++) {
		const square = elements[index]! ** 2;
		if (square > largest) largest = square;
		squares += square;
	}
	return Math.sqrt((largest * elements.length) / squares);
}
