import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { BUILT_IN_RECIPES } from "../../src/recipe/built-in.js";
import { OPERATORS, parseRecipe } from "../../src/recipe/parse-recipe.js";
import { BLOCK_SCALES, BLOCK_SIZES, GRANULARITIES, PRECISIONS } from "../../src/recipe/precision.js";
import { ROLES } from "../../src/recipe/role.js";
import { writeRecipe } from "../../src/recipe/write-recipe.js";

const schema = JSON.parse(readFileSync(new URL("../../docs/recipe.schema.json", import.meta.url), "utf8"));
const validate = new Ajv2020({ allErrors: true, strict: false }).compile(schema);

describe("docs/recipe.schema.json", () => {
	it("names what recipes may name", () => {
		const { setting, op, role } = schema.$defs;
		expect(setting.properties.precision.enum).toEqual([...PRECISIONS]);
		expect(setting.properties.blockSize.enum).toEqual([...BLOCK_SIZES]);
		expect(setting.properties.blockScales.enum).toEqual([...BLOCK_SCALES]);
		expect(setting.properties.granularity.enum).toEqual([...GRANULARITIES]);
		expect(op.enum).toEqual([...OPERATORS]);
		expect(role.enum).toEqual([...ROLES]);
	});

	it.each(BUILT_IN_RECIPES)("takes the built-in recipe $name", (recipe) => {
		expect(validate(parse(writeRecipe(recipe))), JSON.stringify(validate.errors)).toBe(true);
	});

	it.each([
		["{ default: { precision: 16a8w } }", true],
		["{ default: { precision: 16a4w_block, blockSize: 16, blockScales: bq }, rules: [] }", true],
		[
			'{ default: { precision: keep }, rules: [{ match: { shape: ["*", ">=4"], op: [Conv] }, precision: 8a8w, priority: 2 }] }',
			true,
		],
		["{ default: { precision: keep }, rules: [{ match: { layers: 3 }, precision: keep, reason: why }] }", true],
		["{ rules: [] }", false],
		["{ default: { precision: 16a5w } }", false],
		["{ default: { precision: keep, block: 3 } }", false],
		["{ default: { precision: keep }, rule: [] }", false],
		["{ default: { precision: keep }, rules: [{ precision: keep }] }", false],
		["{ default: { precision: keep }, rules: [{ match: {}, precision: keep }] }", false],
		["{ default: { precision: keep }, rules: [{ match: { role: head }, precision: keep }] }", false],
		["{ default: { precision: keep }, rules: [{ match: { op: Conv }, precision: keep, note: x }] }", false],
	])("agrees with the parser about %s", (text, valid) => {
		expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(valid);
		const read = () => parseRecipe(text, "r.yaml");
		if (valid) read();
		else expect(read).toThrow(expect.objectContaining({ code: "recipe/invalid" }));
	});
});
