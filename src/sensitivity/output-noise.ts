import { isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { type ErrorSum, errorSum } from "../quant/measure.js";
import { roleFromNames } from "../recipe/role.js";
import { floatsOf } from "../runtime/live-session.js";
import { attentionMaskOf, withoutPadding } from "../runtime/padding.js";
import { constantOf } from "../weights/constant.js";

/** How far outputs of a model are from what they should be. */
export interface OutputNoise {
	/** Noise over signal, both summed over all samples; the mean over the outputs. */
	readonly ratio: number;
	/** Mean divergence of the distributions that logits stand for, in nats; null where no output is logits. */
	readonly klDivergence: number | null;
	/** For each sample its noise over the signal of a mean sample (its divergence where outputs are logits). */
	readonly samples: readonly number[];
	/** Samples with noise that is infinite or no number, which are in no figure. */
	readonly notFinite: number;
}

/** Sums over samples. */
export class OutputNoiseSum {
	readonly #logits: ReadonlySet<string>;
	readonly #sums: Map<string, { signal: number; error: number }> = new Map();
	#divergence = { sum: 0, rows: 0 };
	#notFinite = 0;
	readonly #samples: { readonly errors: ReadonlyMap<string, number>; readonly divergence: number | null }[] = [];

	/** @param logits names of outputs that are logits. */
	constructor(logits: ReadonlySet<string>) {
		this.#logits = logits;
	}

	/** @param feeds inputs of the sample: positions that an attention mask among them leaves out do not count. */
	add(
		feeds: ReadonlyMap<string, NumpyArray>,
		wanted: ReadonlyMap<string, NumpyArray>,
		found: ReadonlyMap<string, NumpyArray>,
	): void {
		const mask = attentionMaskOf(feeds);
		const sums: [string, ErrorSum][] = [];
		let divergence = { sum: 0, rows: 0 };
		for (const [name, array] of wanted) {
			if (!isFloat(array.type)) continue;
			const counted = (of: NumpyArray) => withoutPadding(floatsOf(of), array.shape, mask);
			const [a, b] = [counted(array), counted(found.get(name)!)];
			const sum = errorSum(a, b);
			if (!Number.isFinite(sum.signal + sum.error)) {
				this.#notFinite++;
				return;
			}
			sums.push([name, sum]);
			if (this.#logits.has(name)) divergence = divergenceOf(a, b, array.shape.at(-1) ?? 1);
		}
		for (const [name, { signal, error }] of sums) {
			const total = this.#sums.get(name) ?? { signal: 0, error: 0 };
			this.#sums.set(name, { signal: total.signal + signal, error: total.error + error });
		}
		const errors = new Map(sums.map(([name, { error }]) => [name, error] as const));
		this.#samples.push({ errors, divergence: divergence.rows === 0 ? null : divergence.sum / divergence.rows });
		this.#divergence.sum += divergence.sum;
		this.#divergence.rows += divergence.rows;
	}

	/** undefined where no sample counted. */
	get noise(): OutputNoise | undefined {
		const ratios = [...this.#sums.values()].map(({ signal, error }) => (error === 0 ? 0 : error / signal));
		if (ratios.length === 0) return undefined;
		const { sum, rows } = this.#divergence;
		return {
			ratio: ratios.reduce((total, ratio) => total + ratio, 0) / ratios.length,
			klDivergence: rows === 0 ? null : sum / rows,
			samples: this.#samples.map(({ errors, divergence }) => divergence ?? this.#ratioOf(errors)),
			notFinite: this.#notFinite,
		};
	}

	#ratioOf(errors: ReadonlyMap<string, number>): number {
		const count = this.#samples.length;
		const ratios = [...errors].map(([name, error]) =>
			error === 0 ? 0 : (error * count) / this.#sums.get(name)!.signal,
		);
		return ratios.reduce((total, ratio) => total + ratio, 0) / ratios.length;
	}
}

/** A last dimension as long as this is a vocabulary. */
const SMALLEST_VOCABULARY = 256;

/** Outputs that are logits over a vocabulary: those of a head, and such as are named so. */
export function logitsOf({ graph }: Model): Set<string> {
	return new Set(graph.outputs.filter(isLogits).map(({ name }) => name));
}

function isLogits(value: Value): boolean {
	if (/logits|lm_head/i.test(value.name)) return true;
	const head = value.producer !== undefined && isOnnxOp(value.producer, "Add") ? value.producer.inputs : [value];
	return head.some((made) => {
		const weight = made?.producer?.inputs.map(constantOf).find((constant) => constant !== undefined);
		if (weight === undefined || weight.tensor.shape.length !== 2) return false;
		const isHead = roleFromNames([weight.value.name, made!.producer!.name], undefined) === "lm_head";
		return isHead && Math.max(...weight.tensor.shape) >= SMALLEST_VOCABULARY;
	});
}

/** The Kullback-Leibler divergence of softmax(actual) from softmax(wanted), summed over rows. */
export function divergenceOf(wanted: Float32Array, actual: Float32Array, length: number) {
	let [sum, rows] = [0, 0];
	for (let start = 0; start + length <= wanted.length; start += length, rows++) {
		const [p, q] = [wanted.subarray(start, start + length), actual.subarray(start, start + length)];
		const [logP, logQ] = [logSumExp(p), logSumExp(q)];
		for (let index = 0; index < length; index++) {
			const own = p[index]! - logP;
			sum += Math.exp(own) * (own - (q[index]! - logQ));
		}
	}
	return { sum, rows };
}

function logSumExp(values: Float32Array): number {
	const largest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
	return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}
