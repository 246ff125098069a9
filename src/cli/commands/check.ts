import {
	checkModel,
	type Finding,
	type ProviderOptions,
	parseTarget,
	providerOptions,
	readModel,
	targetName,
} from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { table } from "../terminal.js";

/** What `check --json` prints; docs/check.schema.json describes it. The version rises when a field changes its meaning or goes. */
interface CheckReport {
	readonly schema: "qgraph-check";
	readonly schemaVersion: 1;
	readonly model: string;
	readonly target: string;
	/** Will the target take all of the model and compute it right, as far as the rules know? */
	readonly legal: boolean;
	readonly providerOptions: ProviderOptions;
	readonly findings: readonly Finding[];
}

/** So many places of one rule are shown on a terminal; --json has all. */
const SHOWN = 5;

export const check: Command = {
	name: "check",
	usage: "check <model>",
	describe: "List what a target would refuse, crash on or compute wrong, and what helps",
	flags: (builder) =>
		builder
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file" })
			.option("target", {
				type: "string",
				demandOption: true,
				requiresArg: true,
				describe: "As qnn-htp:v79, or by the chip: qnn-htp:SM8750",
			})
			.option("all", { type: "boolean", describe: `List every place, not the first ${SHOWN} of each rule` })
			.option("json", { type: "boolean", describe: "As JSON" })
			.example("$0 check --target qnn-htp:v79 model.onnx", ""),
	async run(args, { terminal }) {
		const target = parseTarget(args.target as string);
		const model = await readModel(args.model as string);
		const findings = await checkModel(model, target);
		const report: CheckReport = {
			schema: "qgraph-check",
			schemaVersion: 1,
			model: args.model as string,
			target: targetName(target),
			legal: findings.every(({ consequence }) => consequence === "slow"),
			providerOptions: providerOptions(model, target),
			findings,
		};
		if (args.json === true) terminal.out.write(`${JSON.stringify(report, null, 2)}\n`);
		else terminal.out.write(renderCheck(report, args.all === true ? Number.POSITIVE_INFINITY : SHOWN));
		return report.legal ? EXIT.done : EXIT.failed;
	},
};

function renderCheck({ model, target, legal, findings }: CheckReport, shown: number): string {
	const byRule = new Map<string, Finding[]>();
	for (const finding of findings) byRule.set(finding.rule, [...(byRule.get(finding.rule) ?? []), finding]);
	const parts = [...byRule.values()].map((places) => renderRule(places, shown));
	if (legal) parts.push(`${model}: no rule of ${target} is broken${findings.length > 0 ? " but those of speed" : ""}`);
	else {
		const nodes = new Set(
			findings.filter(({ consequence }) => consequence !== "slow").map(({ graph, node }) => `${graph}/${node}`),
		);
		parts.push(`${model}: ${target} cannot run ${nodes.size === 1 ? "1 node" : `${nodes.size} nodes`} right`);
	}
	return `${parts.join("\n\n")}\n`;
}

function renderRule(places: readonly Finding[], shown: number): string {
	const { rule, consequence, remedy, appliedBy } = places[0]!;
	const rows = places.slice(0, shown).map(({ node, op, message }) => [node, op, message]);
	const lines = [
		`${consequence}: ${rule} (${places.length === 1 ? "1 place" : `${places.length} places`})`,
		table(["node", "operator", "what"], rows).replace(/^/gm, "  "),
	];
	if (places.length > shown) lines.push(`  and ${places.length - shown} more; --all lists them`);
	const by = appliedBy === undefined ? "by hand" : `\`convert --target\` does it with --${appliedBy}`;
	lines.push(`  remedy: ${remedy} (${by})`);
	return lines.join("\n");
}
