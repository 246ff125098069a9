import type { LinearConfig, TensorArray, TensorArrays } from "../../src/reference/reference.js";

/* Every linear kernel once more, from the bytes up, element by element and in float64; with the mistakes that people make. */

export const MISTAKES = [
	"swapped nibbles",
	"nibbles not shifted",
	"input zero point forgotten",
	"weight zero point forgotten",
	"output zero point forgotten",
	"group off by one",
	"scales in the other order",
	"clamp missing",
	"bias forgotten",
	"last channel left out",
	"last group left out",
] as const;

export type Mistake = (typeof MISTAKES)[number];

/** The mistakes that a kernel can have. */
export function possibleMistakes(kernel: string, { bias, depth, groupSize, channels }: LinearConfig): Mistake[] {
	const groups = depth / groupSize;
	return MISTAKES.filter((mistake) => {
		if (mistake === "swapped nibbles" || mistake === "nibbles not shifted") return /4w|4gsw|lpbq/.test(kernel);
		if (mistake === "input zero point forgotten") return /qta8a|dq8ca|lpbq/.test(kernel);
		if (mistake === "weight zero point forgotten") return /qga4w/.test(kernel);
		if (mistake === "output zero point forgotten") return /qta8o|lpbq/.test(kernel);
		if (mistake === "group off by one") return /qga4w|4gsw|lpbq/.test(kernel);
		if (mistake === "scales in the other order") return /qga4w|4gsw|lpbq/.test(kernel) && groups > 1 && channels > 1;
		if (mistake === "clamp missing") return /qta8o|lpbq|dq8ca/.test(kernel);
		return mistake === "bias forgotten" ? bias : true;
	});
}

/** The output of a kernel; every input has the name that the kernel gives it. */
export function naive(kernel: string, config: LinearConfig, inputs: TensorArrays, mistake?: Mistake): TensorArray {
	const { rows, depth, channels, groupSize } = config;
	const isRight = (what: Mistake) => mistake !== what;
	const groups = depth / groupSize;
	const outputs: number[] = [];
	const unsigned = (byte: number) => byte & 255;
	const at = (name: string, index: number) => inputs[name]![index] ?? 0;

	const place = (group: number, n: number) =>
		isRight("scales in the other order") ? group * channels + n : n * groups + group;

	const weight = (n: number, k: number): number => {
		const group = Math.floor((isRight("group off by one") ? k : k + 1) / groupSize);
		if (!isRight("last group left out") && group === groups - 1 && k >= depth - groupSize) return 0;
		if (/q8csw/.test(kernel)) return at("weight", n * depth + k) * at("weight_scales", n);
		const byte = unsigned(at("weight", Math.floor((n * depth + k) / 2)));
		const isEven = (k % 2 === 0) === isRight("swapped nibbles");
		const evenIsHigh = /qga4w|qcs4w/.test(kernel);
		const nibble = isEven === evenIsHigh ? byte >> 4 : byte & 15;
		const isShifted = !/lpbq/.test(kernel) === isRight("nibbles not shifted");
		const code = isShifted ? nibble - 8 : nibble > 7 ? nibble - 16 : nibble;
		const hasZero = isRight("weight zero point forgotten");
		const p = place(group, n);
		if (/lpbq/.test(kernel)) return code * at("block_scales", p) * at("channel_scales", n);
		if (/qcs4w/.test(kernel)) return code * at("scales", n);
		if (/4gsw/.test(kernel)) return code * at("weight_scales", p);
		if (kernel === "linear_qta8a_qga4w") return (code - (hasZero ? at("weight_zero", p) : 0)) * at("weight_scale", p);
		return code * at("scales_and_zeros", 2 * p) + (hasZero ? at("scales_and_zeros", 2 * p + 1) : 0);
	};

	const round = (value: number): number => {
		const down = Math.floor(value);
		if (value - down !== 0.5) return Math.round(value);
		if (config.rounding === "half-even") return down % 2 === 0 ? down : down + 1;
		return value < 0 ? down : down + 1;
	};
	const clamp = (value: number, lo: number, hi: number) =>
		isRight("clamp missing") ? Math.max(lo, Math.min(hi, value)) : value;

	const activation = (m: number, k: number): number => {
		const value = at("input", m * depth + k);
		if (/qta8a|dq8ca/.test(kernel)) {
			const zero = at("input_zero_point", m);
			const code = /dq8ca/.test(kernel)
				? clamp(round(Math.fround(value / at("input_scale", m))) + zero, -128, 127)
				: value;
			return (code - (isRight("input zero point forgotten") ? zero : 0)) * at("input_scale", m);
		}
		if (!/lpbq/.test(kernel)) return value;
		return (value - (isRight("input zero point forgotten") ? at("input_zero_point", 0) : 0)) * at("input_scale", 0);
	};

	const isQuantized = /qta8o|lpbq/.test(kernel);
	const type = /qta8o/.test(kernel) ? "int8" : config.activation;
	const bits = Number(/\d+/.exec(type)![0]);
	const [lo, hi] = type.startsWith("u") ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
	const weights = Array.from({ length: channels }, (_, n) => Array.from({ length: depth }, (_, k) => weight(n, k)));
	for (let m = 0; m < rows; m++) {
		const x = Array.from({ length: depth }, (_, k) => activation(m, k));
		for (let n = 0; n < channels; n++) {
			let sum = 0;
			for (let k = 0; k < depth; k++) sum += x[k]! * weights[n]![k]!;
			if (config.bias && isRight("bias forgotten")) sum += at("bias", n);
			if (!isRight("last channel left out") && n === channels - 1) sum = 0;
			if (isQuantized) {
				const row = /lpbq/.test(kernel) ? 0 : m;
				const zero = isRight("output zero point forgotten") ? at("output_zero_point", row) : 0;
				sum = clamp(round(sum / at("output_scale", row)) + zero, lo, hi);
			}
			outputs.push(sum);
		}
	}
	const arrays = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array };
	return isQuantized ? arrays[type as keyof typeof arrays].from(outputs) : Float32Array.from(outputs);
}
