/*
 * Bundles src into dist/bundle: six entries and what they share. One file instead of two hundred makes the command line
 * start in two thirds of the time. Packages stay outside, but for yargs, whose forty modules take longer to find than to
 * run; the licences of what comes in with it are put beside the bundle.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const BUNDLED = ["yargs"];
const outdir = "dist/bundle";
const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
const packages = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });

rmSync(outdir, { recursive: true, force: true });
const { metafile } = await build({
	entryPoints: [
		"src/index.ts",
		"src/reference/reference.ts",
		"src/cli/main.ts",
		"src/calibration/calibrate-worker.ts",
		"src/passes/support/fit-worker.ts",
		"src/runtime/cpu-worker.ts",
	],
	outdir,
	// beside each other, two folders below the root as the sources are, so that paths from import.meta.url hold
	entryNames: "[name]",
	chunkNames: "[name]-[hash]",
	bundle: true,
	splitting: true,
	external: packages.filter((name) => !BUNDLED.includes(name)),
	metafile: true,
	// names stay, for stack traces; the rest is a third less to read at every start
	minifySyntax: true,
	minifyWhitespace: true,
	// yargs asks for its own folder and for node's modules by require
	banner: {
		js: 'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);',
	},
	platform: "node",
	format: "esm",
	target: "node20.19",
});

const folders = new Set(
	Object.keys(metafile.inputs).flatMap((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0] ?? []),
);
writeFileSync(join(outdir, "THIRD-PARTY-LICENSES.txt"), [...folders].sort().map(licenseOf).join("\n"));

function licenseOf(folder) {
	const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
	const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
	if (file === undefined) throw new Error(`package '${name}' has no licence file to put beside the bundle`);
	return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}
