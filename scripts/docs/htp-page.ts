import { HTP_ARCHITECTURES, HTP_CAPABILITIES, HTP_RULES, OPERATOR_TABLE, type Rule, SOCS } from "../../src/index.js";
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
			["architecture", "chips (`soc_model`, sold as)", "LPBQ", "float block scales", "float operators"],
			HTP_ARCHITECTURES.map((name) => {
				const { lpbqDb, blockDb, floatOperators } = HTP_CAPABILITIES[name];
				const chips = SOCS.filter(({ architecture }) => architecture === name).map(
					({ name, product, model }) => `${name} (${model}, ${product})`,
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
		"The compiler is always told the chip: with `htp_arch` alone it assumes the memory of a v68, and bigger graphs fail with `QNN_COMMON_ERROR_MEM_ALLOC`. An architecture alone means its first chip here, on which the rules were measured; chips with less memory may refuse more.",
		"A v68 keeps some 11 bits of what a result's codes reach over: a MatMul with 16-bit activations has 54 dB where its result fills them, and 6 dB less for each time that they reach twice as far: 36 dB with 8 times, 18 dB with 64. A range that `convert` could only bound, which it says, costs a v68 that much; a v73 has 56 dB and more with all of these. `qgraph quantize` measures ranges.",
		"What no rule can find, as it depends on the data: floats are half floats, which hold no more than 11 bits: of values around 10,000 steps of 8 (a LogSoftmax of 10000, 10001, 10002 and 10003 gives four times the same), and none above 65504; infinities become NaN; a quotient whose divisor passes through 0 has no digits left there. Indices of Gather and GatherElements that are computed have to be 0 or more: below 0, which ONNX counts from the end, they read something else (-13 to 4 dB, except Gather on floats; constant ones are right).",
	];
	for (const { title, rules } of HTP_RULES) {
		parts.push(
			`## ${title}`,
			markdownTable(["rule", "what must hold", "otherwise", "measured", "remedy"], rules.map(row)),
		);
	}
	parts.push(
		"## Table of operators",
		"Each operator alone, with random inputs: between UINT16 values, between UINT8 values, and on floats. One word where v68, v73 and v81 agree; *failed* is taken at first, but the graph is not compiled; *wrong* is below 30 dB.",
		markdownTable(
			["operator", "16 bits", "8 bits", "float"],
			Object.entries(OPERATOR_TABLE).map(([name, forms]) => [
				name,
				outcomeText(forms["16 bits"]),
				outcomeText(forms["8 bits"]),
				outcomeText(forms.float),
			]),
		),
	);
	return `${parts.join("\n\n")}\n`;
}

function outcomeText([v68, v73, v81]: readonly string[]): string {
	if (v68 === v73 && v73 === v81) return v68!;
	return v73 === v81 ? `${v73}, v68 ${v68}` : `v68 ${v68}, v73 ${v73}, v81 ${v81}`;
}

function row({ id, about, consequence, since, until, measured, remedy, appliedBy }: Rule): string[] {
	const where = since === undefined ? (until === undefined ? "" : ` (up to ${until})`) : ` (since ${since})`;
	const by = appliedBy === undefined ? "" : ` (\`--${appliedBy}\`)`;
	return [`\`${id}\``, about, `${consequence}${where}`, measured, `${remedy}${by}`];
}
