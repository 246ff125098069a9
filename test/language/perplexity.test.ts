import { describe, expect, test } from "vitest";
import type { LanguageModel } from "../../src/language/language-model.js";
import { scoreTokens } from "../../src/language/perplexity.js";

/** The next token depends on the last one only: row `token` of the table. Keeps what it was asked. */
function bigram(table: readonly (readonly number[])[], longest?: number) {
	const asked: (readonly number[])[] = [];
	const model: LanguageModel = {
		length: undefined,
		longest,
		async logits(tokens) {
			asked.push(tokens);
			return Float32Array.from(tokens.flatMap((token) => table[token]!));
		},
		close: async () => undefined,
	};
	return { model, asked };
}

const LN3 = Math.log(3);
/** After 0 comes 1 with 3/4, after 1 both with 1/2. */
const TABLE = [
	[0, LN3],
	[2, 2],
];
const CERTAIN = [
	[0, 0],
	[0, 0],
];

describe("perplexity", () => {
	test("is exp of the mean loss, its error that of the mean", async () => {
		const { model } = bigram(TABLE);
		const result = await scoreTokens(model, [[0, 1, 0, 1]]);
		const losses = [Math.log(4 / 3), Math.log(2), Math.log(4 / 3)];
		const mean = (losses[0]! + losses[1]! + losses[2]!) / 3;
		const spread = Math.sqrt(losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / 2);
		expect(result.perplexity).toBeCloseTo(Math.exp(mean), 6);
		expect(result.standardError).toBeCloseTo((Math.exp(mean) * spread) / Math.sqrt(3), 6);
		// of equal logits the first is the best guess
		expect(result).toMatchObject({ accuracy: 1, tokens: 3, notFinite: 0 });
		expect(result.comparison).toBeUndefined();
	});

	test("against a reference: divergence in nats, and the same best guess", async () => {
		const result = await scoreTokens(bigram(CERTAIN).model, [[0, 1, 1]], { reference: bigram(TABLE).model });
		const divergence = 0.25 * Math.log(0.25 / 0.5) + 0.75 * Math.log(0.75 / 0.5);
		expect(result.perplexity).toBeCloseTo(2, 9);
		const { klDivergence, topAgreement, perplexity } = result.comparison!;
		expect(klDivergence.mean).toBeCloseTo(divergence / 2, 6);
		expect(klDivergence.max).toBeCloseTo(divergence, 6);
		expect(klDivergence.percentile99).toBeCloseTo(divergence, 6);
		expect(topAgreement).toBe(0.5);
		expect(perplexity).toBeCloseTo(Math.sqrt((4 / 3) * 2), 6);
	});

	test("windows without a past predict all but their first token", async () => {
		const { model, asked } = bigram(TABLE);
		const { tokens } = await scoreTokens(model, [[0, 1, 0, 1, 1, 1, 0]], { length: 3 });
		expect(asked).toEqual([
			[0, 1, 0],
			[1, 1, 1],
		]);
		expect(tokens).toBe(4);
	});

	test("with a stride every token but the first of a text is predicted, and once", async () => {
		const { model, asked } = bigram(TABLE);
		const done: number[] = [];
		const { tokens } = await scoreTokens(model, [[0, 1, 0, 1, 1, 1, 0], [1, 1], [0]], {
			length: 4,
			stride: 2,
			onProgress: (count, total) => done.push(count, total),
		});
		expect(asked).toEqual([
			[0, 1, 0, 1],
			[0, 1, 1, 1],
			[1, 1, 0],
			[1, 1],
		]);
		expect(tokens).toBe(7);
		expect(done).toEqual([3, 7, 5, 7, 6, 7, 7, 7]);
	});

	test("no more tokens than asked for", async () => {
		const { model, asked } = bigram(TABLE);
		await scoreTokens(
			model,
			[
				[0, 1],
				[0, 1, 1, 1],
				[1, 1],
			],
			{ limit: 4 },
		);
		expect(asked).toEqual([
			[0, 1],
			[0, 1],
		]);
	});

	test("tokens with logits that are no numbers are left out and counted", async () => {
		const broken = [[0, LN3], [Number.NaN, 2]]; // biome-ignore format: a table
		const result = await scoreTokens(bigram(broken).model, [[0, 1, 0, 1]], { reference: bigram(TABLE).model });
		expect(result).toMatchObject({ tokens: 2, notFinite: 1 });
		expect(result.perplexity).toBeCloseTo(4 / 3, 6);
		const none = await scoreTokens(bigram([[Number.POSITIVE_INFINITY, 0]]).model, [[0, 0]], {
			reference: bigram([[0, 0]]).model,
		});
		expect(none).toMatchObject({ perplexity: null, standardError: null, accuracy: null, tokens: 0, notFinite: 1 });
		expect(none.comparison).toMatchObject({ perplexity: null, klDivergence: { mean: null, max: null } });
	});

	test("tokens that are forbidden have no share in the divergence", async () => {
		const forbidding = [[0, LN3, Number.NEGATIVE_INFINITY]];
		const { comparison } = await scoreTokens(bigram(forbidding).model, [[0, 0]], {
			reference: bigram(forbidding).model,
		});
		expect(comparison!.klDivergence.max).toBe(0);
	});

	test.each([
		["one token", [[0]], {}, "there are fewer than two tokens"],
		["a token beyond the vocabulary", [[0, 7]], {}, "there is a token 7, but the model has a vocabulary of 2"],
		["windows beyond the model's", [[0, 1]], { length: 9 }, "windows have 9 tokens, but the model takes 8 at most"],
		["a stride beyond the window", [[0, 1]], { length: 4, stride: 5 }, "windows have 4 tokens and a stride of 5"],
	])("refuses %s", async (_, sequences, options, message) => {
		const safe = {
			...bigram(TABLE, 8).model,
			logits: async (tokens: readonly number[]) => new Float32Array(2 * tokens.length),
		};
		await expect(scoreTokens(safe, sequences, options)).rejects.toMatchObject({
			code: "language/tokens",
			message: expect.stringContaining(message),
		});
	});

	test("refuses a reference with another vocabulary", async () => {
		await expect(
			scoreTokens(bigram(TABLE).model, [[0, 0]], { reference: bigram([[0, 0, 0]]).model }),
		).rejects.toMatchObject({ code: "language/model" });
	});
});
