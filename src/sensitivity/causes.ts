import { isFloat } from "../arrays/element-type.js";
import type { Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { elementCount } from "../ir/types.js";
import { partOf, slabRanges } from "../passes/support/block-weight.js";
import { tableSource } from "../passes/support/float-source.js";
import type { TaskPool } from "../passes/support/task-pool.js";
import { type Spread, spreadOf } from "../quant/measure.js";
import { floatsOf } from "../runtime/live-session.js";
import type { SensitivityUnit, UnitPart } from "./find-sensitivity-units.js";
import type { InputKeeper } from "./layer-inputs.js";
import { median } from "./statistics.js";

/** From here on something is worth a word: what ordinary layers stay well below. */
const [LARGE_CHANNEL, WIDE_INPUT, FAR_WEIGHT] = [20, 200, 20];

/**
 * What there is about the inputs and weights of a unit that quantization does not like.
 *
 * @param spreadKnown of the weights of a part, where somebody has looked at them already.
 */
export async function causesOf(
	unit: SensitivityUnit,
	inputs: ReadonlyMap<Node, InputKeeper>,
	spreadKnown: (part: UnitPart) => Spread | undefined,
	pool: TaskPool,
): Promise<string[]> {
	const causes: string[] = [];
	for (const part of unit.parts) {
		if (part.constant !== undefined) {
			const { tensor } = part.constant;
			causes.push(...weightCauses(spreadKnown(part) ?? (await spreadOfTensor(tensor, pool)), tensor));
		}

		for (const node of part.operators) causes.push(...inputCauses(inputs.get(node)));
	}
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
	const ratio = timesRootMeanSquare(spreadOf(elements), elements.length);
	if (ratio > WIDE_INPUT) causes.push(`its input reaches to ${ratio.toFixed(0)} times its root mean square`);
	return causes;
}

async function spreadOfTensor(tensor: Tensor, pool: TaskPool): Promise<Spread> {
	const source = tableSource(tensor);
	const spread = { largest: 0, squares: 0 };
	await pool.each(
		slabRanges(source.layout),
		(range) => ({ kind: "measure-spread", part: partOf(source, range) }),
		({ largest, squares }) => {
			spread.largest = Math.max(spread.largest, largest);
			spread.squares += squares;
		},
	);
	return spread;
}

function weightCauses(spread: Spread, { shape }: Tensor): string[] {
	const ratio = timesRootMeanSquare(spread, elementCount(shape));
	return ratio > FAR_WEIGHT ? [`a weight is ${ratio.toFixed(0)} times the root mean square of all`] : [];
}

function timesRootMeanSquare({ largest, squares }: Spread, count: number): number {
	return largest / Math.sqrt(squares / count);
}
