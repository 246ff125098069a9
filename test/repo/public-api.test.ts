import { readFileSync } from "node:fs";
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
	const pinned = readFileSync(repoFile("test/repo/public-api.txt"), "utf8").trim().split("\n");
	expect(exportedNames().sort()).toEqual(pinned);
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
