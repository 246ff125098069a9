import type { Gain, OutputGain, Quantization, Verification } from "../index.js";
import { byteText, decibelText, plain, table } from "./terminal.js";
import { renderVerification } from "./verification-text.js";

/** What came of quantizing a model, for people. */
export function renderQuantization(result: Quantization, output: string): string {
	const { bytesBefore, bytesAfter, operators, onCpu, onTarget, notOnTarget, samples, heldOut, recipe, target } = result;
	const rows = operators.map(({ operator, activations, weights, count }) => [
		operator,
		activations,
		weights ?? "",
		String(count),
	]);
	const parts = [
		table(["operator", "activations", "weights", "count"], rows),
		`recipe ${recipe}${target === null ? "" : ` for ${target}`}, ${calibratedWith(samples, heldOut)}`,
		`weights: ${byteText(bytesBefore)} -> ${byteText(bytesAfter)}${worstWeight(result)}`,
	];
	parts.push(...remarks(result));
	if (onCpu !== null) parts.push(`against the input, ${judgedBy(heldOut)}:`, figure(onCpu));
	if (onTarget !== null) parts.push(figure(onTarget));
	parts.push(...gainLines(result));
	if (notOnTarget !== null) parts.push(`not run on the target: ${plain(notOnTarget)}`);
	parts.push(`written: ${output}`);
	return parts.join("\n\n");
}

/** What GPTQ and blocks gained, where that was measured. */
function gainLines({ gptqGain, blockGain, bothGain, onTarget }: Quantization): string[] {
	const line = (gain: OutputGain | null | undefined, where: string | undefined, without: string) =>
		gain ? [`${decibelText(gain.gainDb)} ${where} (${decibelText(gain.withoutDb)} ${without})`] : [];
	const lineOf = (name: string, gain: Gain | null, without: string) => {
		const gains = [...line(gain?.onCpu, "on the CPU", without), ...line(gain?.onTarget, `on ${onTarget?.on}`, without)];
		return gains.length === 0 ? [] : [`gained by ${name}: ${gains.join(", ")}`];
	};
	return [
		...lineOf("GPTQ", gptqGain, "without"),
		...lineOf("blocks", blockGain, "with a scale a channel"),
		...lineOf("both", bothGain, "with a scale a channel and no GPTQ"),
	];
}

function calibratedWith(samples: number, heldOut: number): string {
	if (samples === 0) return "ranges from the encodings file";
	const held = heldOut === 0 ? "" : `, ${heldOut} held out`;
	return `calibrated with ${samples} ${samples === 1 ? "sample" : "samples"}${held}`;
}

function judgedBy(heldOut: number): string {
	return heldOut === 0 ? "on the samples that it was calibrated with" : "on samples that were held out";
}

function worstWeight({ weights }: Quantization): string {
	const measured = weights.filter(({ sqnrDb }) => typeof sqnrDb === "number");
	if (measured.length === 0) return "";
	const worst = measured.reduce((a, b) => (a.sqnrDb! <= b.sqnrDb! ? a : b));
	return `; the furthest from its original is '${plain(worst.weight)}', ${decibelText(worst.sqnrDb!)}`;
}

/** So many warnings of a kind are shown; JSON has all. */
const SHOWN = 3;

/** Warnings, and what is slow on the target. */
function remarks({ diagnostics, findings }: Quantization): string[] {
	const kinds = new Map<string, string[]>();
	const add = (kind: string, line: string) => kinds.set(kind, [...(kinds.get(kind) ?? []), `${kind}: ${line}`]);
	for (const { severity, code, message } of diagnostics) {
		if (severity === "warning") add(`warning ${code}`, plain(message));
	}
	for (const { node, message, rule } of findings) add(`slow ${rule}`, `'${plain(node)}': ${plain(message)}`);
	const lines = [...kinds].flatMap(([kind, found]) => {
		const more = found.length > SHOWN ? [`${kind}: and ${found.length - SHOWN} more; --json lists them`] : [];
		return [...found.slice(0, SHOWN), ...more];
	});
	return lines.length === 0 ? [] : [lines.join("\n")];
}

/** Where it ran, wholly or not, and how close it came. */
function figure(verification: Verification): string {
	const { failure, on, worstSqnrDb, overallSqnrDb, samples, outputs } = verification;
	if (failure !== null || outputs.some(({ problem }) => problem !== null)) return renderVerification(verification);
	const where = on === "cpu" ? "on the CPU" : `on ${on}, nothing left on the CPU`;
	const each =
		outputs.length === 1
			? ""
			: ` at worst; ${outputs.map(({ name, sqnrDb }) => `${plain(name)} ${decibelText(sqnrDb)}`).join(", ")}`;
	const overall = samples === 1 ? "" : ` in the worst sample, ${decibelText(overallSqnrDb)} over all ${samples},`;
	return `${decibelText(worstSqnrDb)}${overall} ${where}${each}`;
}
