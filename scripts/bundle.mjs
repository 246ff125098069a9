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
	alias: { "string-width": "./scripts/string-width.mjs" },
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

/* The page of the analysis report: one script and one style sheet, which the library puts into the file that it writes. */
const page = await build({
	entryPoints: ["src/analysis-report/page/page.ts", "src/analysis-report/page/page.css"],
	outdir: join(outdir, "report"),
	bundle: true,
	minify: true,
	metafile: true,
	platform: "browser",
	format: "iife",
	target: ["chrome111", "firefox111", "safari16.4"],
	// escapes what a page would take for the end of the script, too
	charset: "ascii",
	legalComments: "none",
});

const folders = foldersOf(metafile);
const pageFolders = foldersOf(page.metafile);
writeFileSync(join(outdir, "report/page-licenses.txt"), pageFolders.map(licenseOf).join("\n"));
writeFileSync(
	join(outdir, "THIRD-PARTY-LICENSES.txt"),
	[...new Set([...folders, ...pageFolders])].sort().map(licenseOf).join("\n"),
);

/** Folders of the packages that a bundle was made of. */
function foldersOf({ inputs }) {
	const found = Object.keys(inputs).flatMap((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0] ?? []);
	return [...new Set(found)].sort();
}

function licenseOf(folder) {
	const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
	const textOf = (pattern) => {
		const file = readdirSync(folder).find((entry) => pattern.test(entry));
		return file === undefined ? undefined : readFileSync(join(folder, file), "utf8").trim();
	};
	const text = textOf(/^licen[cs]e/i);
	if (text === undefined) throw new Error(`package '${name}' has no licence file to put beside the bundle`);
	const notice = textOf(/^notice/i);
	return `${name} ${version} (${license})\n\n${notice === undefined ? "" : `${notice}\n\n`}${text}\n`;
}
