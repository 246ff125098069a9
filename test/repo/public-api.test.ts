import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as api from "../../src/index.js";
import * as reference from "../../src/reference/reference.js";
import { repoFile } from "./repo.js";

/** What users import; the names of each are listed beside this file. */
const ENTRIES = [
	{ file: "src/index.ts", list: "test/repo/public-api.txt", api },
	{ file: "src/reference/reference.ts", list: "test/repo/public-api-reference.txt", api: reference },
];

/** The exported names of a file, types with the word in front. */
function exportedNames(file: string): string[] {
	const text = readFileSync(repoFile(file), "utf8");
	return [...text.matchAll(/^export (type )?\{([^}]*)\} from "[^"]+";$/gm)].flatMap(([, type = "", list]) =>
		list!
			.split(",")
			.map((name) => name.trim())
			.filter((name) => name !== "")
			.map((name) => type + name),
	);
}

describe.each(ENTRIES)("$file", ({ file, list, api }) => {
	it("exports the names of its list: whoever changes one changes the list and CHANGELOG.md", () => {
		const names = exportedNames(file).sort();
		if (process.env.UPDATE_GOLDEN === "1") writeFileSync(repoFile(list), `${names.join("\n")}\n`);
		expect(names).toEqual(readFileSync(repoFile(list), "utf8").trim().split("\n"));
	});

	it("has every value in that list", () => {
		const values = exportedNames(file).filter((name) => !name.startsWith("type "));
		expect(values.sort()).toEqual(Object.keys(api).sort());
	});

	it("contains nothing but exports by name", () => {
		const text = readFileSync(repoFile(file), "utf8");
		expect(text.replace(/^export (type )?\{[^}]*\} from "[^"]+";$/gm, "").trim()).toBe("");
	});
});
