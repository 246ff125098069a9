import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { findCycle, type Import, importsOf } from "./imports.js";
import { repoFile, sourceFiles } from "./repo.js";

/** What the parts that join everything may import. */
const ALL_BELOW = [
	"diagnostics",
	"quant",
	"encodings",
	"ir",
	"weights",
	"inference",
	"onnx",
	"targets",
	"passes",
	"runtime",
	"run-passes",
];

/** The parts of src, lowest rank first: the parts and the packages that each may import. */
const RULES: Readonly<Record<string, { readonly imports: readonly string[]; readonly packages: readonly string[] }>> = {
	diagnostics: { imports: [], packages: [] },
	quant: { imports: [], packages: [] },
	encodings: { imports: ["diagnostics"], packages: ["node:"] },
	ir: { imports: ["diagnostics"], packages: ["node:", "@dagrejs/graphlib"] },
	onnx: { imports: ["ir", "diagnostics"], packages: ["node:", "protobufjs"] },
	arrays: { imports: ["ir", "quant", "onnx", "diagnostics"], packages: ["node:", "fflate"] },
	weights: { imports: ["ir", "quant", "diagnostics"], packages: [] },
	inference: { imports: ["ir", "diagnostics"], packages: [] },
	targets: { imports: ["ir", "diagnostics", "quant", "weights", "inference"], packages: [] },
	recipe: { imports: ["ir", "diagnostics", "weights"], packages: ["node:", "yaml", "fastest-levenshtein"] },
	passes: {
		imports: ["ir", "diagnostics", "quant", "encodings", "weights", "inference", "targets", "recipe", "arrays"],
		packages: ["node:", "fastest-levenshtein"],
	},
	runtime: {
		imports: ["ir", "diagnostics", "quant", "weights", "inference", "onnx", "arrays", "targets", "passes"],
		packages: ["node:", "onnxruntime-node"],
	},
	"run-passes": { imports: ["ir", "onnx", "passes", "runtime"], packages: [] },
	calibration: {
		imports: ["ir", "diagnostics", "quant", "encodings", "weights", "inference", "onnx", "arrays", "passes", "runtime"],
		packages: ["node:", "sharp"],
	},
	language: {
		imports: ["ir", "diagnostics", "onnx", "arrays", "runtime"],
		packages: ["node:", "@huggingface/tokenizers"],
	},
	analysis: { imports: [...ALL_BELOW, "recipe", "report", "language"], packages: ["node:"] },
	llm: {
		imports: [...ALL_BELOW, "arrays", "recipe", "calibration", "analysis", "quantize", "language"],
		packages: ["node:", "ml-matrix"],
	},
	quantize: {
		imports: [...ALL_BELOW, "arrays", "recipe", "calibration", "analysis", "report", "language"],
		packages: ["node:"],
	},
	sensitivity: {
		imports: [...ALL_BELOW, "arrays", "recipe", "calibration", "analysis", "quantize", "report", "language"],
		packages: ["node:", "ml-matrix"],
	},
	"analysis-report": { imports: ["sensitivity"], packages: ["node:", "echarts"] },
	report: { imports: ALL_BELOW, packages: ["node:"] },
	reference: { imports: ["diagnostics", "quant", "arrays", "runtime"], packages: ["node:", "fast-check"] },
	index: {
		imports: [
			...ALL_BELOW,
			"recipe",
			"calibration",
			"analysis",
			"language",
			"llm",
			"quantize",
			"sensitivity",
			"analysis-report",
			"report",
		],
		packages: [],
	},
	cli: { imports: ["index", "reference"], packages: ["fastest-levenshtein", "node:", "yargs"] },
};

const imports = sourceFiles().flatMap(importsOf);

/** Packages that the build puts into the page of a report; users do not install them. */
const IN_THE_PAGE = ["echarts"];

/** `quant/lpbq.ts` -> `quant`, `index.ts` -> `index`. */
function partOf(file: string): string {
	return file.replace(/(\/.*|\.ts)$/, "");
}

function text({ from, to }: Import): string {
	return `${from} imports ${to}`;
}

function isAllowed({ from, to, isPackage }: Import): boolean {
	const rule = RULES[partOf(from)];
	if (rule === undefined) return false;
	if (isPackage)
		return rule.packages.some((name) => to === name || to.startsWith(name.endsWith(":") ? name : `${name}/`));
	return partOf(from) === partOf(to) || rule.imports.includes(partOf(to));
}

describe("imports of src", () => {
	it("finds the import lines, those of types too", () => {
		const file = {
			name: "passes/a.ts",
			text: 'import "node:fs";\nimport {\n\ttype A,\n\tb,\n} from "../ir/b.js";\nexport type { C } from "./c.js";\nexport * from "./d.js";\nimport e, * as f from "e";\nawait import("./g.js");',
		};
		expect(importsOf(file).map((found) => `${found.to} ${found.typeOnly}`)).toEqual([
			"node:fs false",
			"ir/b.ts false",
			"passes/c.ts true",
			"passes/d.ts false",
			"e false",
			"passes/g.ts false",
		]);
		const withFrom = sourceFiles().flatMap(({ text }) => text.match(/\bfrom "[^"]+";$|\bimport\("[^"]+"\)/gm) ?? []);
		expect(imports).toHaveLength(withFrom.length);
	});

	it("go only where the rank of the importing part allows", () => {
		const refused = [
			["passes/a.ts", "onnx/b.ts"],
			["onnx/a.ts", "passes/b.ts"],
			["ir/a.ts", "passes/b.ts"],
			["cli/a.ts", "ir/b.ts"],
			["new-part/a.ts", "ir/b.ts"],
		];
		expect(
			refused.filter(([from, to]) => isAllowed({ from: from!, to: to!, isPackage: false, typeOnly: true })),
		).toEqual([]);
		expect(imports.filter((found) => !isAllowed(found)).map(text)).toEqual([]);
	});

	it("name files that exist", () => {
		const files = new Set(sourceFiles().map(({ name }) => name));
		expect(imports.filter(({ to, isPackage }) => !isPackage && !files.has(to)).map(text)).toEqual([]);
	});

	it("run in no circle", () => {
		const edge = (from: string, to: string): Import => ({ from, to, isPackage: false, typeOnly: false });
		expect(findCycle([edge("a", "b"), edge("b", "c"), edge("c", "b")])).toEqual(["b", "c", "b"]);
		expect(findCycle(imports.filter(({ typeOnly, isPackage }) => !typeOnly && !isPackage))).toBeUndefined();
	});

	it("use every dependency of package.json and no other package", () => {
		const { dependencies, peerDependencies } = JSON.parse(readFileSync(repoFile("package.json"), "utf8"));
		const used = imports
			.filter(({ to, isPackage }) => isPackage && !to.startsWith("node:"))
			.map(({ to }) => /^(@[^/]+\/)?[^/]+/.exec(to)![0]);
		const installed = Object.keys({ ...dependencies, ...peerDependencies });
		expect([...new Set(used)].sort()).toEqual([...installed, ...IN_THE_PAGE].sort());
	});
});
