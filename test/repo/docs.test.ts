import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { diagnosticsPage } from "../../scripts/docs/diagnostics-page.js";
import { htpPage } from "../../scripts/docs/htp-page.js";
import { lpbqExample } from "../../scripts/docs/lpbq-example.js";
import { fillMarkers } from "../../scripts/docs/markdown.js";
import { passesPage, passesTable } from "../../scripts/docs/passes-page.js";
import { passFlags } from "../../src/cli/flags.js";
import { allPasses, CODES } from "../../src/index.js";
import { repoFile } from "./repo.js";

/** Pages made from the code, and pages with a part that is: a file's text before -> what it must be. */
const GENERATED: Readonly<Record<string, (before: string) => string>> = {
	"docs/diagnostics.md": diagnosticsPage,
	"docs/passes.md": passesPage,
	"docs/qnn-htp.md": htpPage,
	"docs/lpbq.md": (before) => fillMarkers(before, "example", lpbqExample()),
	"README.md": (before) => fillMarkers(before, "passes", passesTable()),
};

describe("pages made from the code", () => {
	it.each(Object.entries(GENERATED))("%s is up to date; `npm run docs` makes it so", (name, render) => {
		const file = repoFile(name);
		const update = process.env.UPDATE_GOLDEN === "1";
		if (update) writeFileSync(file, render(readFileSync(file, { encoding: "utf8", flag: "a+" })));
		const page = readFileSync(file, "utf8");
		expect(page).toBe(render(page));
	});

	it("docs/diagnostics.md names every code", () => {
		const page = readFileSync(repoFile("docs/diagnostics.md"), "utf8");
		expect(Object.keys(CODES).filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
	});

	it("docs/passes.md names the flags that the command line has", () => {
		const page = readFileSync(repoFile("docs/passes.md"), "utf8");
		const flags = Object.keys(passFlags());
		const documented = [...page.matchAll(/^\| `\w+` \| `--([\w-]+)`/gm)].map(([, flag]) => flag);
		const options = allPasses.flatMap(({ definition }) => Object.keys(definition.options));
		expect(documented).toHaveLength(options.length);
		expect(documented.filter((flag) => !flags.includes(flag!))).toEqual([]);
	});
});

it("README.md and .ci/run have the same test command", () => {
	const command = "npm ci && npm test";
	expect(readFileSync(repoFile("README.md"), "utf8")).toContain(`\n${command}\n`);
	expect(readFileSync(repoFile(".ci/run"), "utf8")).toContain(`(${command})`);
});
