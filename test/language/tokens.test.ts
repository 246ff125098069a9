import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesFrom, type ElementType } from "../../src/arrays/element-type.js";
import { writeNpy, writeNpz } from "../../src/arrays/npz.js";
import { readTokens } from "../../src/language/tokens.js";
import { TOKENIZER } from "./tokenizer.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-tokens-"));
const file = (name: string) => path.join(folder, name);
const array = (type: ElementType, shape: readonly number[], values: readonly number[]) => ({
	type,
	shape,
	bytes: bytesFrom(type, values),
});

beforeAll(() => {
	writeFileSync(file("tokenizer.json"), JSON.stringify(TOKENIZER));
	writeFileSync(file("text.txt"), "ab ba\n\nab c");
	writeNpy(file("row.npy"), array("int32", [3], [5, 6, 7]));
	writeNpy(file("rows.npy"), array("int64", [2, 2], [5, 6, 7, 8]));
	writeNpy(file("floats.npy"), array("float32", [2], [5, 6]));
	writeNpz(file("one.npz"), new Map([["x", array("uint16", [2], [5, 6])]]));
	const mask = array("int64", [2], [1, 1]);
	writeNpz(file("named.npz"), new Map([["attention_mask", mask], ["input_ids", array("int64", [2], [3, 4])]])); // biome-ignore format: pairs
	writeNpz(file("two.npz"), new Map([["a", mask], ["b", mask]])); // biome-ignore format: pairs
	writeFileSync(file("list.json"), "[1, 2, 3]");
	writeFileSync(file("lists.json"), "[[1, 2], [3]]");
	writeFileSync(file("object.json"), '{ "input_ids": [[4, 5]], "text": "x" }');
	writeFileSync(file("text.json"), '["a", 2]');
	writeFileSync(file("negative.json"), "[1, -2]");
	writeFileSync(file("other.json"), '{ "ids": [] }');
	writeFileSync(file("broken.json"), "[1,");
	writeFileSync(file("kind.json"), '{ "model": { "type": "Rune" } }');
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("tokens", () => {
	test("of a text, one sequence, by a tokenizer.json or its folder", async () => {
		const text = file("text.txt");
		const expected = [[6, 7, 6, 5]];
		expect(await readTokens({ text, tokenizer: file("tokenizer.json") })).toEqual(expected);
		expect(await readTokens({ text, tokenizer: folder })).toEqual(expected);
	});

	test.each([
		["row.npy", [[5, 6, 7]]],
		["rows.npy", [[5, 6], [7, 8]]],
		["one.npz", [[5, 6]]],
		["named.npz", [[3, 4]]],
		["list.json", [[1, 2, 3]]],
		["lists.json", [[1, 2], [3]]],
		["object.json", [[4, 5]]],
	])("of %s", async (name, expected) => {
		expect(await readTokens({ tokens: file(name) })).toEqual(expected);
	}); // biome-ignore format: a table

	test.each([
		["floats.npy", "its elements are float32, expected integers"],
		["two.npz", "it has 2 arrays, expected one, or one 'input_ids'"],
		["text.json", '"a" is no token id'],
		["negative.json", "-2 is no token id"],
		["other.json", "it holds no list of token ids"],
		["broken.json", "cannot read"],
		["text.txt", "expected .npy, .npz or .json"],
	])("are not read of %s", async (name, message) => {
		await expect(readTokens({ tokens: file(name) })).rejects.toMatchObject({
			code: "language/tokens",
			message: expect.stringContaining(message),
		});
	});

	test("are not read of texts that are not there, nor by what is no tokenizer", async () => {
		const tokenizer = file("tokenizer.json");
		await expect(readTokens({ text: file("none.txt"), tokenizer })).rejects.toMatchObject({ code: "language/tokens" });
		await expect(readTokens({ text: file("text.txt") })).rejects.toMatchObject({ code: "language/tokens" });
		const text = file("text.txt");
		for (const name of ["broken.json", "none.json", "kind.json"]) {
			await expect(readTokens({ text, tokenizer: file(name) })).rejects.toMatchObject({ code: "language/tokenizer" });
		}
	});
});
