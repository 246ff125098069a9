import path from "node:path";
import { type NumpyArray, writeNpy } from "../../arrays/npz.js";
import { bytesOf } from "../../ir/tensor.js";
import { MomentsFolder } from "../../passes/support/input-statistics.js";
import { floatsOf } from "../../runtime/live-session.js";
import { ChannelTotals } from "../channel-totals.js";
import { GramProduct, MomentSum, triangleSize } from "../moment-sum.js";
import { enoughRows, type RowPlan, readRows } from "../row-plan.js";
import { ErrorSum, RowProduct } from "./error-sum.js";
import type { RoundInputs } from "./round-inputs.js";

type Values = ReadonlyMap<string, NumpyArray>;

/** Sums up, over samples, second moments of inputs, and products of inputs and errors. */
export class RoundSums {
	readonly #inputs: RoundInputs;
	readonly #samples: number;
	readonly #gram = new GramProduct(undefined);
	readonly #product = new RowProduct();
	readonly #moments: Map<string, MomentSum>;
	readonly #errors: Map<string, ErrorSum>;

	/** @param samples how many there will be. */
	constructor(inputs: RoundInputs, samples: number) {
		this.#inputs = inputs;
		this.#samples = samples;
		this.#moments = new Map(
			inputs.moments.map(({ key, depth, groups }) => [key, new MomentSum(this.#gram, depth, groups)]),
		);
		this.#errors = new Map(
			inputs.errors.map(({ weight, depth, groups, channels }) => [
				weight,
				new ErrorSum(this.#product, depth, groups, channels),
			]),
		);
	}

	/** Bytes that sums of these inputs take. */
	static bytesOf({ moments, errors }: RoundInputs): number {
		const ofMoments = moments.reduce((sum, { depth, groups }) => sum + groups * triangleSize(depth), 0);
		return 8 * errors.reduce((sum, { channels, depth }) => sum + channels * depth, ofMoments);
	}

	/**
	 * Adds a sample.
	 *
	 * @param expected outputs of the float model.
	 * @param found inputs and outputs of the quantized one.
	 */
	async add(expected: Values, found: Values, turn: number): Promise<void> {
		const rowsOf = (values: Values, name: string, plan: RowPlan, depth: number) => {
			const array = values.get(name)!;
			return readRows(plan, array.shape, floatsOf(array), enoughRows(depth, this.#samples), turn);
		};
		for (const { key, depth, sources } of this.#inputs.moments) {
			for (const { value, plan } of sources) {
				await this.#moments.get(key)!.add(rowsOf(found, value.name, plan, depth));
			}
		}
		for (const { weight, depth, places } of this.#inputs.errors) {
			for (const { input, inputPlan, output, outputPlan } of places) {
				const wrong = rowsOf(found, output, outputPlan, depth);
				const errors = rowsOf(expected, output, outputPlan, depth).map((value, index) => value - wrong[index]!);
				await this.#errors.get(weight)!.add(errors, rowsOf(found, input, inputPlan, depth));
			}
		}
	}

	/** Writes the means, a file or two a weight. */
	async write(folder: string): Promise<void> {
		const totals = new ChannelTotals([]);
		for (const [key, sum] of this.#moments) totals.addMoments({ key, ...(await sum.result()) });
		totals.writeMoments(this.#inputs.moments, folder);
		for (const { weight, depth, channels } of this.#inputs.errors) {
			const bytes = bytesOf(await this.#errors.get(weight)!.means());
			const file = path.join(folder, MomentsFolder.errorsFileName(weight));
			writeNpy(file, { type: "float32", shape: [channels, depth], bytes });
		}
	}

	async close(): Promise<void> {
		await this.#gram.close();
		await this.#product.close();
	}
}
