import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import * as api from "../../src/index.js";
import { repoFile } from "./repo.js";

/** The exported names of src/index.ts, types with the word in front. */
function exportedNames(): string[] {
	const text = readFileSync(repoFile("src/index.ts"), "utf8");
	return [...text.matchAll(/^export (type )?\{([^}]*)\} from "[^"]+";$/gm)].flatMap(([, type = "", list]) =>
		list!
			.split(",")
			.map((name) => name.trim())
			.filter((name) => name !== "")
			.map((name) => type + name),
	);
}

it("exports the names of public-api.txt: whoever changes one changes the list and CHANGELOG.md", () => {
	const list = repoFile("test/repo/public-api.txt");
	if (process.env.UPDATE_GOLDEN === "1") writeFileSync(list, `${exportedNames().sort().join("\n")}\n`);
	expect(exportedNames().sort()).toEqual(readFileSync(list, "utf8").trim().split("\n"));
});

it("finds every value that src/index.ts exports", () => {
	expect(
		exportedNames()
			.filter((name) => !name.startsWith("type "))
			.sort(),
	).toEqual(Object.keys(api).sort());
});

it("contains nothing but exports by name", () => {
	const text = readFileSync(repoFile("src/index.ts"), "utf8");
	expect(text.replace(/^export (type )?\{[^}]*\} from "[^"]+";$/gm, "").trim()).toBe("");
});
