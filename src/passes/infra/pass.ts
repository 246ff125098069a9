import type { NumpyArray } from "../../arrays/npz.js";
import type { DiagnosticCode, Location } from "../../diagnostics.js";
import { QGraphError } from "../../diagnostics.js";
import type { TensorData } from "../../ir/data.js";
import type { Model } from "../../ir/model.js";
import type { Target } from "../../targets/target.js";
import type { WeightEntry } from "./report.js";

export type OptionValue = boolean | number | string | readonly string[];

/** One option of a pass: flags of the command line, checks and docs derive from it. */
export interface OptionSpec<T> {
	readonly default: T;
	readonly describe: string;
	readonly choices?: readonly T[];
}

export type Options<O> = { readonly [K in keyof O]: OptionValue };

/** What a pass is. `requires` and `ensures` throw a QGraphError when the model is not what it must be. */
export interface PassDefinition<O extends Options<O>> {
	/** A verb phrase in kebab case; also the file name, the switch of the command line and the golden folder. */
	readonly name: string;
	/** One imperative sentence. */
	readonly summary: string;
	readonly options: { readonly [K in keyof O]-?: OptionSpec<O[K]> };
	requires?(model: Model, context: PassContext<O>): void;
	/** Works in place; says whether anything changed. */
	run(model: Model, context: PassContext<O>): boolean | Promise<boolean>;
	ensures?(model: Model, context: PassContext<O>): void;
}

/**
 * Looks at weights' inputs while those before them are quantized already, so that later weights can make good what earlier
 * ones got wrong.
 */
export interface WeightObserver {
	/**
	 * Sorts weights of the main graph into rounds: those of a round read nothing that another one of it computes, unless there
	 * would be too many rounds.
	 *
	 * @param weights by name: all that will be quantized, and whether their inputs are to be looked at.
	 * @returns names in rounds, each of `weights` once.
	 */
	plan(
		model: Model,
		weights: ReadonlyMap<string, { readonly isObserved: boolean }>,
	): Promise<readonly (readonly string[])[]>;
	/** Looks at the inputs of the next round. @returns a folder with what was seen, as `hessian` of a recipe. */
	observe(): Promise<string>;
	/** Takes what a weight has become, FLOAT. */
	quantized(weight: string, values: TensorData): void;
	close(): Promise<void>;
}

/** What the pipeline gives a running pass. */
export interface PassContext<O> {
	readonly options: Readonly<O>;
	/** What the model is made for; undefined where nobody said. */
	readonly target: Target | undefined;
	/** Names of the passes that run afterwards, in order. */
	readonly later: readonly string[];
	readonly signal: AbortSignal;
	report(code: DiagnosticCode, message: string, at: Location, notes?: readonly string[]): void;
	/** Adds to a figure of the report. */
	count(stat: string, by?: number): void;
	/** Says what became of a weight; a later entry for the same place replaces the earlier. */
	reportWeight(entry: WeightEntry): void;
	/** Takes work that only completes the report, such as measuring: it may go on while the model is written. */
	defer(work: Promise<void>): void;
	/**
	 * Resolves when nothing of the model remains to be written, at once where nobody said that it will be: deferred work
	 * that looks at bytes while they are copied (`watchCopies`) then does the rest.
	 */
	readonly written: Promise<void>;
	progress(done: number, total: number): void;
	/** Reads another model, such as the float original. */
	readModel(path: string): Promise<Model>;
	/** Outputs of a model without inputs, by name; undefined where nobody runs models, or this one does not run. */
	runModel(model: Model): Promise<ReadonlyMap<string, NumpyArray> | undefined>;
	/** undefined where nobody looks at inputs while weights are quantized. */
	readonly observer?: WeightObserver | undefined;
}

/** A pass with its options chosen, ready to run. */
export interface Pass {
	readonly name: string;
	readonly options: Readonly<Record<string, OptionValue>>;
	run(model: Model, context: Omit<PassContext<unknown>, "options">): Promise<boolean>;
}

/** Makes a pass from options; what is left out has its default. */
export interface PassFactory<O extends Options<O>> {
	(options?: Partial<O>): Pass;
	readonly definition: PassDefinition<O>;
}

// biome-ignore lint/suspicious/noExplicitAny: a list of passes holds factories of different options
export type AnyPassFactory = PassFactory<any>;

/** Turns a definition into a factory. The factory throws `pass/unknown-option` for options that the pass does not have. */
export function definePass<O extends Options<O>>(definition: PassDefinition<O>): PassFactory<O> {
	const factory = (given: Partial<O> = {}): Pass => {
		const options = withDefaults(definition, given);
		return {
			name: definition.name,
			options,
			async run(model, context) {
				const full: PassContext<O> = { ...context, options };
				definition.requires?.(model, full);
				const changed = await definition.run(model, full);
				definition.ensures?.(model, full);
				return changed;
			},
		};
	};
	return Object.assign(factory, { definition });
}

function withDefaults<O extends Options<O>>(definition: PassDefinition<O>, given: Partial<O>): O {
	const specs = definition.options as Readonly<Record<string, OptionSpec<OptionValue>>>;
	for (const name of Object.keys(given)) {
		if (!(name in specs)) {
			const known = Object.keys(specs).join(", ") || "none";
			throw new QGraphError(
				"pass/unknown-option",
				`pass '${definition.name}' has no option '${name}'; it has ${known}`,
			);
		}
	}
	const options: Record<string, OptionValue> = {};
	for (const [name, spec] of Object.entries(specs)) {
		const value = (given as Readonly<Record<string, OptionValue | undefined>>)[name] ?? spec.default;
		const rightType = typeof value === typeof spec.default && Array.isArray(value) === Array.isArray(spec.default);
		if (!rightType || (spec.choices !== undefined && !spec.choices.includes(value))) {
			const expected =
				spec.choices?.join(", ") ?? (Array.isArray(spec.default) ? "a list" : `a ${typeof spec.default}`);
			throw new QGraphError(
				"pass/unknown-option",
				`option '${name}' of pass '${definition.name}' is ${JSON.stringify(value)}, expected ${expected}`,
			);
		}
		options[name] = value;
	}
	return options as O;
}
