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
import { PLACES_SHOWN, renderFindings } from "../findings.js";

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
			.option("all", { type: "boolean", describe: `List every place, not the first ${PLACES_SHOWN} of each rule` })
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
		else terminal.out.write(renderCheck(report, args.all === true ? Number.POSITIVE_INFINITY : PLACES_SHOWN));
		return report.legal ? EXIT.done : EXIT.failed;
	},
};

function renderCheck({ model, target, legal, findings }: CheckReport, shown: number): string {
	const parts = renderFindings(findings, shown);
	if (legal) parts.push(`${model}: no rule of ${target} is broken${findings.length > 0 ? " but those of speed" : ""}`);
	else {
		const nodes = new Set(
			findings.filter(({ consequence }) => consequence !== "slow").map(({ graph, node }) => `${graph}/${node}`),
		);
		parts.push(`${model}: ${target} cannot run ${nodes.size === 1 ? "1 node" : `${nodes.size} nodes`} right`);
	}
	return `${parts.join("\n\n")}\n`;
}
