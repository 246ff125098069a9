import { describe, expect, it } from "vitest";
import { CODES } from "../../src/index.js";
import { sourceFiles } from "./repo.js";

const MAX_LINES = 350;

describe("src", () => {
	it(`has no file above ${MAX_LINES} lines`, () => {
		const lines = sourceFiles().map(({ name, text }) => ({ name, count: text.split("\n").length - 1 }));
		expect(lines.filter(({ count }) => count > MAX_LINES)).toEqual([]);
	});

	/** Codes that only passes written outside qgraph report. */
	const FOR_OTHERS = ["pass/note"];

	it("uses every diagnostic code and explains it", () => {
		const text = sourceFiles()
			.filter(({ name }) => !name.startsWith("diagnostics"))
			.map((file) => file.text)
			.join("\n");
		expect(Object.keys(CODES).filter((code) => !text.includes(`"${code}"`))).toEqual(FOR_OTHERS);
		expect(Object.entries(CODES).filter(([, { explain }]) => !/^[A-Z`-].*\.$/.test(explain))).toEqual([]);
	});
});
