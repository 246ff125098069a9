import { HTP_ARCHITECTURES, HTP_CAPABILITIES, HTP_RULES, type Rule, SOCS } from "../../src/index.js";
import { markdownTable } from "./markdown.js";

/** docs/qnn-htp.md. */
export function htpPage(): string {
	const parts = [
		"<!-- Made from src/targets by `npm run docs`. -->",
		"# The Hexagon HTP as a target",
		"What the compiler and emulator of QNN 2.51 (onnxruntime-qnn 2.7.0, ONNX Runtime 1.31.1) were seen to do: SQNR is that of the emulator against ONNX Runtime's CPU on the same file. `qgraph check --target qnn-htp:v79 model.onnx` applies these rules to a model; `convert --target` runs the passes named here.",
		"A model that compiles is not a model that is right: what breaks a rule marked *wrong* compiles without a word.",
		"## Architectures",
		markdownTable(
			["architecture", "chips (`soc_model`)", "LPBQ", "float block scales", "float operators"],
			HTP_ARCHITECTURES.map((name) => {
				const { lpbqDb, blockDb, floatOperators } = HTP_CAPABILITIES[name];
				const chips = SOCS.filter(({ architecture }) => architecture === name).map(
					({ name, model }) => `${name} (${model})`,
				);
				return [
					name,
					chips.join(", "),
					`${lpbqDb} dB`,
					blockDb === undefined ? "refused" : `${blockDb} dB, fp16`,
					floatOperators ? "fp16" : "small graphs only",
				];
			}),
		),
		"The compiler is always told the chip: with `htp_arch` alone it assumes the memory of a v68, and bigger graphs fail with `QNN_COMMON_ERROR_MEM_ALLOC`.",
	];
	for (const { title, rules } of HTP_RULES) {
		parts.push(
			`## ${title}`,
			markdownTable(["rule", "what must hold", "otherwise", "measured", "remedy"], rules.map(row)),
		);
	}
	return `${parts.join("\n\n")}\n`;
}

function row({ id, about, consequence, since, until, measured, remedy, appliedBy }: Rule): string[] {
	const where = since === undefined ? (until === undefined ? "" : ` (up to ${until})`) : ` (since ${since})`;
	const by = appliedBy === undefined ? "" : ` (\`--${appliedBy}\`)`;
	return [`\`${id}\``, about, `${consequence}${where}`, measured, `${remedy}${by}`];
}
