/*
 * Inputs for real models: sentences for encoders of text, drawn scenes for models that see. None of them is random noise,
 * which trained models answer with activations that they never have.
 */
import { readFileSync } from "node:fs";
import { Tensor } from "onnxruntime-node";

export type Feeds = Readonly<Record<string, Tensor>>;

/** What a model wants to be fed, as `InferenceSession.inputMetadata` tells it. */
export interface WantedInput {
	readonly name: string;
	readonly type: string;
	/** A name or -1 where any length does. */
	readonly shape: readonly (number | string)[];
}

/** What is shorter is hardly a sentence. */
const LEAST_TOKENS = 6;

/** Token ids of BERT's uncased vocabulary for the paragraphs of texts in Markdown. */
export class Tokenizer {
	readonly #ids: ReadonlyMap<string, number>;

	/** @param vocabulary file with a token a line. */
	constructor(vocabulary: string) {
		const lines = readFileSync(vocabulary, "utf8").split("\n");
		this.#ids = new Map(lines.map((token, id) => [token, id]));
	}

	/** The first `count` paragraphs of a file that are sentences. */
	paragraphs(file: string, count: number): number[][] {
		const text = readFileSync(file, "utf8").replace(/```.*?```/gs, "");
		return text
			.split(/\n\s*\n/)
			.filter((paragraph) => /^[A-Z].{80,}/s.test(paragraph))
			.slice(0, count)
			.map((paragraph) => this.#encode(paragraph).slice(0, 128));
	}

	/** The first `count` sentences of a file with no more than `length` tokens, the marks of beginning and end among them. */
	sentences(file: string, count: number, length: number): number[][] {
		const text = readFileSync(file, "utf8").replace(/```.*?```/gs, "");
		return text
			.split(/\n\s*\n|(?<=[.!?])\s+/)
			.filter((sentence) => /^[A-Z].*[.!?]$/s.test(sentence))
			.map((sentence) => this.#encode(sentence))
			.filter((ids) => ids.length >= LEAST_TOKENS && ids.length <= length)
			.slice(0, count);
	}

	#encode(text: string): number[] {
		const words = text.toLowerCase().match(/[a-z0-9]+|[^\sa-z0-9]/g) ?? [];
		const id = (token: string) => this.#ids.get(token)!;
		return [id("[CLS]"), ...words.flatMap((word) => this.#pieces(word) ?? [id("[UNK]")]), id("[SEP]")];
	}

	/** The longest pieces that the vocabulary has, from the left. */
	#pieces(word: string): number[] | undefined {
		const pieces: number[] = [];
		for (let start = 0; start < word.length; ) {
			let end = word.length;
			const piece = () => this.#ids.get((start > 0 ? "##" : "") + word.slice(start, end));
			while (end > start && piece() === undefined) end--;
			if (end === start) return undefined;
			pieces.push(piece()!);
			start = end;
		}
		return pieces;
	}
}

/** One sentence for every input of an encoder, padded to `length` tokens as tokenizers do it. */
export function textFeeds(inputs: readonly WantedInput[], ids: readonly number[], length = ids.length): Feeds {
	return Object.fromEntries(
		inputs.map(({ name }) => {
			const value = /mask/.test(name) ? () => 1n : /type/.test(name) ? () => 0n : (id: number) => BigInt(id);
			const tokens = new BigInt64Array(length);
			tokens.set(BigInt64Array.from(ids, value));
			return [name, new Tensor("int64", tokens, [1, length])];
		}),
	);
}

/** Length of dynamic dimensions of an image. */
const DYNAMIC_LENGTH = 96;

/** A drawn scene for the one input of a model that sees, [batch, channels, height, width]. */
export function imageFeeds([input]: readonly WantedInput[], seed: number): Feeds {
	const shape = input!.shape.map((length, axis) => {
		return typeof length === "number" && length > 0 ? length : axis === 0 ? 1 : DYNAMIC_LENGTH;
	});
	const [, channels, height, width] = shape as [number, number, number, number];
	const values = drawScene(channels, height, width, seed);
	return { [input!.name]: new Tensor("float32", values, shape) };
}

/**
 * Disks and bars that hide each other, of all sizes (few large, many small), with soft shading: its edges and spectrum are
 * like those of photographs (dead leaves model; Lee, Mumford & Huang 2001). From 0 to 1.
 */
function drawScene(channels: number, height: number, width: number, seed: number): Float32Array {
	const random = randomNumbers(seed);
	const pixels = new Float32Array(channels * height * width).fill(0.5);
	const largest = Math.min(height, width) / 2;
	for (let leaf = 0; leaf < 600; leaf++) {
		const radius = largest / (1 + (leaf / 600) * 40 * random());
		const [x, y] = [random() * width, random() * height];
		const [angle, thinness] = [random() * Math.PI, random() < 0.5 ? 1 : 4];
		const color = Array.from({ length: channels }, random);
		const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
		for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(height, y + radius); row++) {
			for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(width, x + radius); column++) {
				const [along, across] = [(column - x) * cos + (row - y) * sin, (row - y) * cos - (column - x) * sin];
				if (along ** 2 + (across * thinness) ** 2 > radius ** 2) continue;
				const shade = 1 - (0.3 * along) / radius;
				for (let channel = 0; channel < channels; channel++) {
					pixels[(channel * height + row) * width + column] = Math.min(1, color[channel]! * shade);
				}
			}
		}
	}
	return pixels;
}

/** Numbers from 0 to 1, the same for the same seed. */
function randomNumbers(seed: number): () => number {
	let state = seed * 2654435761;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let mixed = Math.imul(state ^ (state >>> 15), state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
}
