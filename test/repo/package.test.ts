import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { readModel, summarizeWeights } from "../../src/index.js";
import { repoFile } from "./repo.js";
import { demoModelFile, run, temporaryFolder } from "./run.js";

const { version } = JSON.parse(readFileSync(repoFile("package.json"), "utf8")) as { version: string };

describe("the package", () => {
	it("runs as `npx qgraph` in the checkout", async () => {
		// a cache of its own, and no build in the middle of other tests, with which npx begins in a checkout
		const args = ["--ignore-scripts", `--cache=${temporaryFolder()}`, "qgraph", "--version"];
		expect((await run("npx", args)).trim()).toBe(version);
	});

	it("installs from its tarball, converts a model and can be imported", async () => {
		const folder = temporaryFolder();
		// without scripts: the build that is there is packed, and other tests go on using it
		const packed = await run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder]);
		const [{ filename, files }] = JSON.parse(packed) as [{ filename: string; files: { path: string }[] }];
		const strays = files.filter(
			({ path: name }) => !/^(dist|docs|python)\/|^(README|CHANGELOG)\.md$|^LICENSE$|^package\.json$/.test(name),
		);
		expect(strays).toEqual([]);

		const project = path.join(folder, "project");
		mkdirSync(project);
		writeFileSync(path.join(project, "package.json"), '{ "name": "user", "private": true, "type": "module" }');
		await run(
			"npm",
			["install", "--prefer-offline", "--omit=dev", "--no-audit", "--no-fund", path.join(folder, filename)],
			project,
		);
		expect((await run("npx", ["qgraph", "--version"], project)).trim()).toBe(version);

		const input = await demoModelFile();
		const output = path.join(project, "out.onnx");
		const printed = await run("npx", ["qgraph", "convert", "--bq-to-lpbq", input, output], project);
		expect(printed).toContain("3 of 4 weights converted, 1 kept as they were");
		const schemes = summarizeWeights(await readModel(output)).map(({ scheme }) => scheme);
		expect(schemes).toEqual(["lpbq", "lpbq", "lpbq", "float"]);

		const program = `
			import { allPasses } from "qgraph";
			import { KERNELS } from "qgraph/reference";
			console.log(allPasses.length > 0 && KERNELS.length > 0);`;
		writeFileSync(path.join(project, "program.js"), program);
		expect((await run(process.execPath, ["program.js"], project)).trim()).toBe("true");
	}, 300_000);
});
