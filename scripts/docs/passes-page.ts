import { type AnyPassFactory, allPasses, type OptionSpec, type OptionValue } from "../../src/index.js";
import { markdownTable } from "./markdown.js";

/** docs/passes.md. */
export function passesPage(): string {
	const parts = [
		"<!-- Made from the definitions in src/passes by `npm run docs`. -->",
		"# Passes",
		'In the order in which `qgraph convert` runs them; `--passes a,b` runs others in the order given. On the command line a pass is a switch, `--bq-to-lpbq`, and its options carry its name, `--bq-to-lpbq-fit max`; list options may be given several times. In a program a pass is a function of its options, `bqToLpbq({ fit: "max" })`.',
	];
	for (const { definition } of allPasses) {
		parts.push(`## ${definition.name}`, definition.summary, optionsText(definition));
	}
	return `${parts.join("\n\n")}\n`;
}

/** The table of passes in README.md. */
export function passesTable(): string {
	return markdownTable(
		["pass", "what it does"],
		allPasses.map(({ definition: { name, summary } }) => [`[\`${name}\`](docs/passes.md#${name})`, summary]),
	);
}

function optionsText({ name, options }: AnyPassFactory["definition"]): string {
	const specs: readonly [string, OptionSpec<OptionValue>][] = Object.entries(options);
	if (specs.length === 0) return "No options.";
	return markdownTable(
		["option", "flag", "values", "default", "meaning"],
		specs.map(([option, spec]) => [
			`\`${option}\``,
			`\`--${name}-${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}\``,
			spec.choices?.map((choice) => `\`${choice}\``).join(", ") ?? typeName(spec.default),
			defaultText(spec.default),
			spec.describe,
		]),
	);
}

function typeName(value: OptionValue): string {
	return Array.isArray(value) ? "strings" : typeof value;
}

function defaultText(value: OptionValue): string {
	return value === "" || (Array.isArray(value) && value.length === 0) ? "none" : `\`${value}\``;
}
