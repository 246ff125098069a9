import { DataType } from "../../ir/types.js";
import { type ErrorSum, sqnrDb } from "../../quant/measure.js";
import { withFloatScales } from "./form-values.js";
import { withBlocks, withChannelInt8, withSignedCodes, withZeroPoints } from "./legal-form.js";
import { withoutZeroPoints } from "./requantize.js";
import type { Spool } from "./spool.js";
import type { WeightForm } from "./weight-form.js";
import type { WeightKernels } from "./weight-kernels.js";
import { withDifferences } from "./widened-codes.js";
import { zeroPointKind } from "./zero-points.js";

/** A form that a target computes right. */
export interface LegalWeight {
	readonly form: WeightForm;
	/** What was done, in words; nothing where the weight was right. */
	readonly steps: readonly string[];
	/** undefined where the weight is the same as before. */
	readonly error: ErrorSum | undefined;
}

/** What may be done to a weight. */
export interface Means {
	readonly kernels: WeightKernels;
	/** Can the activations get `count` more zeros? */
	canPad(): boolean;
	readonly spool: Spool;
}

/** A form with what was done to come to it. */
interface Way {
	readonly form: WeightForm;
	readonly steps: readonly string[];
}

/** The first of the forms of the same weight that is right, else the one that loses least. */
export function legalWeight(before: WeightForm, means: Means): LegalWeight {
	const kind = zeroPointKind(before);
	const signed =
		kind === "middle"
			? { form: withSignedCodes(before), steps: ["its UINT4 codes with zero point 8 became INT4"] }
			: { form: before, steps: [] };
	const ways = kind === "mixed" ? asymmetricWays(signed) : symmetricWays(signed, means);
	let reason = kind === "mixed" ? "its zero points are not zero" : undefined;
	for (const way of ways) {
		for (const cut of [way, recut(way, means)]) {
			const fault = cut === undefined ? undefined : means.kernels.fault(cut.form);
			if (cut !== undefined && fault === undefined) return { ...cut, error: undefined };
			reason ??= fault;
		}
	}
	return leastLoss(signed, reason!, kind === "mixed", means);
}

/** The same weight in other forms, those first that the target computes best. */
function* symmetricWays(start: Way, { kernels }: Means): Generator<Way> {
	yield start;
	if (start.form.lpbq === undefined) return;
	if (start.form.zeroPoint === undefined && kernels.operatorFault(start.form) === undefined) {
		yield { form: withZeroPoints(start.form), steps: [...start.steps, "its zero points were written out"] };
	}
	const why = kernels.fault(start.form);
	const products = withFloatScales(start.form);
	if (kernels.isFittedAnew(products)) return;
	yield {
		form: products,
		steps: [...start.steps, `its LPBQ scales were multiplied out, for ${why}`],
	};
}

function* asymmetricWays({ form, steps }: Way): Generator<Way> {
	const { dtype } = form.codes;
	if (dtype !== DataType.INT4 && dtype !== DataType.UINT4) return;
	yield {
		form: withDifferences(withFloatScales(form)),
		steps: [...steps, "its zero points were taken off the codes, which became INT8"],
	};
}

/** The weight in smaller blocks, or with more inputs that are zeros, as the target wants it. */
function recut({ form, steps }: Way, { kernels, canPad }: Means): Way | undefined {
	const depth = form.codes.shape[form.blockAxis]!;
	if (kernels.takesShape(form, depth, form.blockSize)) return undefined;
	const { blockSize, padded } = legalBlocks(form, depth, kernels);
	if (blockSize === 0 || padded > 2 * depth || (padded !== depth && !canPad())) return undefined;
	const done = [...steps];
	if (blockSize !== form.blockSize) done.push(`its blocks of ${form.blockSize} were cut into ${blockSize}`);
	if (padded !== depth) done.push(`K was padded from ${depth} to ${padded}`);
	return { form: withBlocks(form, blockSize, padded), steps: done };
}

/** The largest legal block size that divides the old one and for which least padding is needed, with the padded depth. */
function legalBlocks(form: WeightForm, depth: number, kernels: WeightKernels): { blockSize: number; padded: number } {
	let best = { blockSize: 0, padded: Number.POSITIVE_INFINITY };
	for (let blockSize = 4; blockSize <= form.blockSize; blockSize += 4) {
		if (form.blockSize % blockSize !== 0) continue;
		let padded = Math.ceil(depth / blockSize) * blockSize;
		while (padded <= 2 * depth && !kernels.takesShape(form, padded, blockSize)) padded += blockSize;
		if (padded <= Math.min(best.padded, 2 * depth)) best = { blockSize, padded };
	}
	return best;
}

/** Among int8 codes with one scale a channel, and where blocks are taken, symmetric int4 codes in blocks. */
function leastLoss(start: Way, reason: string, isAsymmetric: boolean, means: Means): LegalWeight {
	const int8 = withChannelInt8(start.form);
	const candidates = [{ ...int8, name: "int8 with one scale a channel" }];
	if (isAsymmetric) {
		const depth = start.form.codes.shape[start.form.blockAxis]!;
		for (const blockSize of new Set([start.form.blockSize, 16])) {
			if (start.form.blockSize % blockSize !== 0 || depth % blockSize !== 0) continue;
			const made = withoutZeroPoints(withFloatScales(withBlocks(start.form, blockSize, depth)), means.spool);
			if (made === undefined || means.kernels.fault(made.form) !== undefined) continue;
			candidates.push({ ...made, name: `symmetric INT4 in blocks of ${blockSize}` });
		}
	}
	const ratio = ({ error }: (typeof candidates)[number]) => error.error / (error.signal || 1);
	const [best, ...others] = candidates.toSorted((a, b) => ratio(a) - ratio(b));
	const compared = others.map((other) => `${other.name} ${decibels(other.error)}`);
	const than = compared.length === 0 ? "" : `, which loses less than ${compared.join(" and ")}`;
	const steps = [...start.steps, `it became ${best!.name} (${decibels(best!.error)})${than}: ${reason}`];
	return { form: best!.form, steps, error: best!.error };
}

function decibels({ signal, error }: ErrorSum): string {
	const ratio = sqnrDb(signal, error);
	return Number.isFinite(ratio) ? `${ratio.toFixed(1)} dB` : "exact";
}
