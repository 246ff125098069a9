import { QGraphError } from "../../index.js";
import {
	checkLinear,
	type Disagreement,
	KERNELS,
	type Kernel,
	type LinearCheck,
	type LinearConfig,
	ROUNDING_MODES,
	type RoundingMode,
} from "../../reference/reference.js";
import { type Arguments, type Command, type CommandContext, EXIT } from "../command.js";

export const kernels: Command = {
	name: "kernels",
	usage: "kernels",
	describe: "List the reference kernels, or check an implementation against them",
	flags: (builder) =>
		builder
			.option("list", { type: "boolean", describe: "List them with their tensors and published shapes" })
			.option("run", {
				type: "string",
				requiresArg: true,
				describe: "Check this command, which reads the .npz file {in} and writes {out}; {kernel} is the name",
			})
			.option("kernel", {
				type: "string",
				array: true,
				requiresArg: true,
				describe: "Only this one; may be given again. Default: all",
			})
			.option("rounding", {
				choices: ROUNDING_MODES,
				requiresArg: true,
				describe: "What the command makes of an exact half. Default: as each kernel's published form does",
			})
			.option("random", { type: "number", requiresArg: true, default: 20, describe: "Random configs to try a kernel" })
			.option("seed", { type: "number", requiresArg: true, default: 0, describe: "Of all data" })
			.option("performance", {
				type: "boolean",
				describe: "Also the shapes that are there to be timed, 16 rows of each",
			})
			.option("json", { type: "boolean", describe: "As JSON" })
			.conflicts("list", "run")
			.example("$0 kernels --run 'python kernel.py {in} {out}' --kernel linear_q4gsw", ""),
	async run(args, context) {
		if (args.list === true) return list(args, context);
		if (args.run === undefined) throw new QGraphError("kernels/command", "name --list or --run 'command {in} {out}'");
		return check(args, context);
	},
};

async function check(args: Arguments, { terminal, signal }: CommandContext): Promise<number> {
	const command = args.run as string;
	const names = (args.kernel as string[] | undefined) ?? KERNELS.map(({ name }) => name);
	if (names.length > 1 && !command.includes("{kernel}")) {
		throw new QGraphError(
			"kernels/command",
			`name one --kernel, or tell the command which: '${command}' has no {kernel}`,
		);
	}
	const checks: LinearCheck[] = [];
	for (const name of names) {
		const result = await checkLinear(name, {
			run: command,
			rounding: args.rounding as RoundingMode | undefined,
			random: args.random as number,
			seed: args.seed as number,
			performance: args.performance === true,
			signal,
		});
		checks.push(result);
		if (args.json !== true) terminal.out.write(renderCheck(result));
	}
	if (args.json === true) terminal.out.write(`${JSON.stringify(checks, null, 2)}\n`);
	return checks.every(({ passed }) => passed) ? EXIT.done : EXIT.failed;
}

function renderCheck({ kernel, published, random, largestDifference, disagreement }: LinearCheck): string {
	if (disagreement !== null) return `${kernel}: ${disagreement.message}\n${renderDisagreement(disagreement)}`;
	const counts = `${published} published and ${random} random configs agree`;
	return `${kernel}: ${counts}, largest difference ${largestDifference.toPrecision(3)}\n`;
}

function renderDisagreement({ config, data, seed, value }: Disagreement): string {
	const lines = [`config ${configText(config)}, rounding ${config.rounding}, ${data} data of seed ${seed}`];
	if (value?.reference != null) {
		const { floatSum, integerSum, groups } = value.reference;
		lines.push(`sum of the reference: ${floatSum} dequantized, ${integerSum} by integers`);
		for (const [group, { accumulator, weightSum, inputSum }] of groups.entries()) {
			lines.push(`  group ${group}: sum of x*w ${accumulator}, of w ${weightSum}, of x ${inputSum}`);
		}
	}
	if (value?.implementationSum != null) lines.push(`sum of the implementation: ${value.implementationSum}`);
	return lines.map((line) => `  ${line}\n`).join("");
}

function configText({ rows, depth, channels, groupSize, activation, bias }: LinearConfig): string {
	const groups = groupSize === depth ? "" : ` in groups of ${groupSize}`;
	return `${rows}x${depth}x${channels}${groups}, ${activation}${bias ? ", bias" : ""}`;
}

function list({ kernel, json }: Arguments, { terminal }: CommandContext): number {
	const names = kernel as string[] | undefined;
	const chosen = KERNELS.filter(({ name }) => names?.includes(name) ?? true);
	if (json === true) {
		const rows = chosen.map(({ name, summary, source, inputs, outputs, activations, rounding, published }) => ({
			name,
			summary,
			source,
			activations,
			rounding,
			inputs: tensorsOf(inputs),
			outputs: tensorsOf(outputs),
			published,
		}));
		terminal.out.write(`${JSON.stringify(rows, null, 2)}\n`);
	} else terminal.out.write(chosen.map(renderKernel).join("\n"));
	return EXIT.done;
}

function tensorsOf(tensors: Kernel["outputs"]) {
	return Object.entries(tensors).map(([name, { type, dims, about }]) => ({ name, type, dims, about }));
}

function renderKernel({ name, summary, source, inputs, outputs, activations, published }: Kernel): string {
	const typeText = (type: string) => (type === "activation" ? activations.join("|") : type);
	const tensors = [...tensorsOf(inputs), ...tensorsOf(outputs).map((each) => ({ ...each, about: `-> ${each.about}` }))];
	const lines = tensors.map(
		({ name: tensor, type, dims, about }) => `${tensor}: ${typeText(type)} [${dims.join(", ")}], ${about}`,
	);
	const shapes = published.map((config) => `${configText(config)}${config.performance ? " (performance)" : ""}`);
	return [name, summary, source, ...lines, "published:", ...shapes.map((shape) => `  ${shape}`)]
		.map((line, index) => `${index === 0 ? "" : "  "}${line}\n`)
		.join("");
}
