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
	parts.push(...gainParts(result));
	if (notOnTarget !== null) parts.push(`not run on the target: ${plain(notOnTarget)}`);
	parts.push(`written: ${output}`);
	return parts.join("\n\n");
}

/** What GPTQ and blocks gained, where that was measured. */
function gainParts(result: Quantization): string[] {
	const { gptqGain, blockGain, onTarget } = result;
	if (blockGain !== null) {
		return [...waysTable(result, "onCpu", "the CPU"), ...waysTable(result, "onTarget", String(onTarget?.on))];
	}
	const line = (gain: OutputGain | null | undefined, where: string) =>
		gain ? [`${decibelText(gain.gainDb)} ${where} (${decibelText(gain.withoutDb)} without)`] : [];
	const gains = [...line(gptqGain?.onCpu, "on the CPU"), ...line(gptqGain?.onTarget, `on ${onTarget?.on}`)];
	return gains.length === 0 ? [] : [`gained by GPTQ: ${gains.join(", ")}`];
}

const PLAIN = "as written over a scale a channel rounded to the nearest";

/** Blocks beside a scale a channel, with codes found in the same ways: what blocks gain depends on these. */
function waysTable(result: Quantization, place: "onCpu" | "onTarget", where: string): string[] {
	const own = result[place]?.worstSqnrDb;
	if (typeof own !== "number") return [];
	const { gptqGain, blockGain, bothGain, nearestGain, nearestChannelGain } = result;
	const without = (gain: Gain | null) => gain?.[place]?.withoutDb;
	const isGptq = result.weights.some(({ fit }) => fit === "gptq");
	const ways: readonly (readonly [way: string, channels: number | undefined, blocks: number | undefined])[] = [
		["rounded to the nearest on min-max scales", without(nearestChannelGain), without(nearestGain)],
		...(isGptq ? [["scales of least error, no GPTQ", without(bothGain), without(gptqGain)] as const] : []),
		[isGptq ? "GPTQ, as written" : "scales of least error, as written", without(blockGain), own],
	];
	const rows = ways
		.filter(([, channels, blocks]) => channels !== undefined && blocks !== undefined)
		.map(([way, channels, blocks]) => [way, ...[channels!, blocks!, blocks! - channels!].map(decibelText)]);
	const head = [`worst sample on ${where}, codes`, "a scale a channel", "blocks", "gained by blocks"];
	const plainChannels = without(nearestChannelGain);
	const over = plainChannels === undefined ? [] : [`${PLAIN}: ${decibelText(own - plainChannels)}`];
	return [[table(head, rows), ...over].join("\n")];
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
	const error = (largest: number) => `off by ${largest.toPrecision(3)} at most`;
	const each =
		outputs.length === 1
			? `; ${error(outputs[0]!.maxAbsError)}`
			: ` at worst; ${outputs.map((output) => `${plain(output.name)} ${decibelText(output.sqnrDb)}, ${error(output.maxAbsError)}`).join("; ")}`;
	const overall = samples === 1 ? "" : ` in the worst sample, ${decibelText(overallSqnrDb)} over all ${samples},`;
	return `${decibelText(worstSqnrDb)}${overall} ${where}${each}`;
}
