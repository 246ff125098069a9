import {
	type AnyPassFactory,
	allPasses,
	applyEncodings,
	legalizingPasses,
	normalizingPasses,
	type OptionSpec,
	type OptionValue,
	type Pass,
	QGraphError,
	quantizingPasses,
	recipePasses,
} from "../index.js";

/** A flag as yargs takes it. */
interface Flag {
	readonly type: "boolean" | "number" | "string" | "array";
	readonly describe: string;
	readonly group: string;
	readonly choices?: readonly (string | number)[];
	readonly requiresArg?: boolean;
	readonly string?: boolean;
	readonly hidden?: boolean;
}

/** `fit`, as an option of `bq-to-lpbq`, has the flag `bq-to-lpbq-fit`. */
function flagOf(pass: AnyPassFactory, option: string): string {
	return `${pass.definition.name}-${kebab(option)}`;
}

/** Options that several passes have, or that everybody needs: one flag sets them on every pass that has them. */
const SHARED = [
	"include",
	"exclude",
	"floatWeights",
	"dim",
	"inputValue",
	"recipe",
	"requantize",
	"encodings",
	"importance",
	"hessian",
];

const SHARED_GROUPS: Readonly<Record<string, string>> = {
	dim: "Shapes:",
	inputValue: "Shapes:",
	encodings: "Encodings:",
};

function optionsOf(pass: AnyPassFactory): [string, OptionSpec<OptionValue>][] {
	return Object.entries(pass.definition.options);
}

/** The flags of all passes: a switch each, one flag an option, and those in SHARED without the pass's name too. */
export function passFlags(): Record<string, Flag> {
	const flags: Record<string, Flag> = {};
	for (const pass of allPasses) {
		const { name, summary } = pass.definition;
		flags[name] = { type: "boolean", describe: summary, group: "Passes:" };
	}
	for (const pass of allPasses) {
		for (const [option, spec] of optionsOf(pass)) {
			const flag = optionFlag(spec, `Options of ${pass.definition.name}:`);
			flags[flagOf(pass, option)] = SHARED.includes(option) ? { ...flag, hidden: true } : flag;
			if (SHARED.includes(option)) flags[kebab(option)] = optionFlag(spec, SHARED_GROUPS[option] ?? "Weights:");
		}
	}
	flags.passes = {
		type: "string",
		describe: "Passes to run, separated by commas, in this order",
		group: "Passes:",
		requiresArg: true,
	};
	return flags;
}

function optionFlag(spec: OptionSpec<OptionValue>, group: string): Flag {
	const isList = Array.isArray(spec.default);
	const type = isList ? "array" : (typeof spec.default as "boolean" | "number" | "string");
	const text = spec.default === "" || isList ? "" : ` [default: ${spec.default}]`;
	return {
		type,
		describe: spec.describe + text,
		group,
		requiresArg: type !== "boolean",
		...(isList ? { string: true } : {}),
		...(spec.choices === undefined ? {} : { choices: spec.choices as readonly (string | number)[] }),
	};
}

/** The passes that the arguments choose, with their options. Throws a QGraphError for names that do not exist. */
export function passesFrom(args: Readonly<Record<string, unknown>>): Pass[] {
	return chosenPasses(args).map((pass) => {
		const options: Record<string, OptionValue> = {};
		for (const [option] of optionsOf(pass)) {
			const shared = SHARED.includes(option) ? args[kebab(option)] : undefined;
			const value = args[flagOf(pass, option)] ?? shared;
			if (value !== undefined) options[option] = value as OptionValue;
		}
		return pass(options);
	});
}

/** Flags that were given but that no chosen pass takes: most likely a switch was forgotten. */
export function unusedOptions(args: Readonly<Record<string, unknown>>): string[] {
	const chosen = chosenPasses(args);
	const unused: string[] = [];
	for (const pass of allPasses) {
		for (const [option] of optionsOf(pass)) {
			const flag = flagOf(pass, option);
			if (args[flag] !== undefined && !chosen.includes(pass)) unused.push(`--${flag} needs --${pass.definition.name}`);
		}
	}
	for (const option of SHARED) {
		const taken = chosen.some((pass) => optionsOf(pass).some(([name]) => name === option));
		if (args[kebab(option)] !== undefined && !taken) unused.push(`--${kebab(option)} needs a pass that takes it`);
	}
	return unused;
}

function chosenPasses(args: Readonly<Record<string, unknown>>): AnyPassFactory[] {
	if (typeof args.passes !== "string") {
		return allPasses.filter((pass) => {
			const wanted = args[pass.definition.name] as boolean | undefined;
			return wanted ?? impliedPasses(args).includes(pass);
		});
	}
	return args.passes.split(",").map((name) => {
		const pass = allPasses.find((candidate) => candidate.definition.name === name.trim());
		if (pass !== undefined) return pass;
		const names = allPasses.map((candidate) => candidate.definition.name).join(", ");
		throw new QGraphError("pass/unknown", `there is no pass '${name.trim()}'; there are ${names}`);
	});
}

/** What runs unless it is switched off: what applies encodings or a recipe, what makes a model legal on a target, or weights fit for LPBQ. */
function impliedPasses(args: Readonly<Record<string, unknown>>): readonly AnyPassFactory[] {
	return [
		...(args.encodings === undefined || args.recipe !== undefined ? [] : [applyEncodings]),
		...(args.recipe === undefined ? [] : args.encodings === undefined ? recipePasses : quantizingPasses),
		...(args.target === undefined ? [] : legalizingPasses),
		...(args["bq-to-lpbq"] === true ? normalizingPasses : []),
	];
}

function kebab(name: string): string {
	return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
