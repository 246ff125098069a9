import type { NumpyArray } from "../../arrays/npz.js";
import { CODES, type Diagnostic, type DiagnosticCode, type Location, QGraphError } from "../../diagnostics.js";
import type { Model } from "../../ir/model.js";
import { verifyModel } from "../../ir/verify.js";
import type { Target } from "../../targets/target.js";
import type { Pass, WeightObserver } from "./pass.js";
import type { PassRecord, PipelineReport, WeightEntry } from "./report.js";

/** Hooks are called in between passes, for timing and printing. */
export interface PipelineOptions {
	/** What the model is made for; passes that know it obey its rules. */
	readonly target?: Target;
	readonly signal?: AbortSignal;
	readonly onBeforePass?: (pass: Pass, model: Model) => void;
	readonly onAfterPass?: (record: PassRecord, model: Model) => void;
	readonly onDiagnostic?: (diagnostic: Diagnostic) => void;
	readonly onProgress?: (pass: string, done: number, total: number) => void;
	/**
	 * Takes the work that passes put off: what they still measure while the model is used already. The report is complete
	 * when it has resolved. Without this the pipeline waits for it.
	 */
	readonly onDeferred?: (work: Promise<void>) => void;
	/** Resolves when the model has been written, where it is going to be while put off work goes on. */
	readonly written?: Promise<void>;
	/** How passes read other models. */
	readonly readModel?: (path: string) => Promise<Model>;
	/** How passes run models without inputs. */
	readonly runModel?: (model: Model) => Promise<ReadonlyMap<string, NumpyArray> | undefined>;
	/** Looks at inputs of weights while others are quantized already. */
	readonly observer?: WeightObserver;
}

/** A pipeline that had to stop. `report` holds what was done and said until then. */
export class PipelineError extends QGraphError {
	readonly report: PipelineReport;

	constructor(code: DiagnosticCode, message: string, at: Location, report: PipelineReport, options?: ErrorOptions) {
		super(code, message, at, options);
		this.name = "PipelineError";
		this.report = report;
	}
}

/**
 * Runs passes over a model, in place and in order. The model is verified at the start and after every pass that says it
 * changed something; an error diagnostic of a pass or of the verifier rejects with a PipelineError.
 */
export async function runPasses(
	model: Model,
	passes: readonly Pass[],
	options: PipelineOptions = {},
): Promise<PipelineReport> {
	const run = new PipelineRun(model, options);
	run.verify("the input");
	for (const [index, pass] of passes.entries()) await run.pass(pass, passes.slice(index + 1));
	await run.settle();
	return run.report();
}

class PipelineRun {
	readonly #model: Model;
	readonly #options: PipelineOptions;
	readonly #signal: AbortSignal;
	readonly #passes: PassRecord[] = [];
	readonly #diagnostics: Diagnostic[] = [];
	readonly #weights: Map<string, WeightEntry> = new Map();
	readonly #deferred: Promise<void>[] = [];

	constructor(model: Model, options: PipelineOptions) {
		this.#model = model;
		this.#options = options;
		this.#signal = options.signal ?? new AbortController().signal;
	}

	report(): PipelineReport {
		const weights = this.#weights;
		return {
			passes: this.#passes,
			diagnostics: this.#diagnostics,
			get weights() {
				return [...weights.values()];
			},
		};
	}

	/** Waits for what passes put off, or hands it on. */
	async settle(): Promise<void> {
		const { onDeferred } = this.#options;
		if (onDeferred === undefined) await Promise.all(this.#deferred);
		else for (const work of this.#deferred) onDeferred(work);
	}

	verify(when: string): void {
		const [first, ...others] = verifyModel(this.#model);
		if (first === undefined) return;
		this.#diagnostics.push(first, ...others);
		const more = others.length > 0 ? ` (and ${others.length} more)` : "";
		throw this.#failure(first.code, `${when} is not a valid model: ${first.message}${more}`, first.at);
	}

	async pass(pass: Pass, later: readonly Pass[]): Promise<void> {
		const stats: Record<string, number> = {};
		const before = this.#diagnostics.length;
		const start = performance.now();
		if (this.#signal.aborted) throw this.#failure("pass/aborted", `cancelled before '${pass.name}'`, {});
		this.#options.onBeforePass?.(pass, this.#model);
		const changed = await this.#run(pass, later, stats);
		const milliseconds = performance.now() - start;
		const record = { name: pass.name, options: pass.options, changed, milliseconds, stats };
		this.#passes.push(record);
		const failed = this.#diagnostics.slice(before).find((diagnostic) => diagnostic.severity === "error");
		if (failed !== undefined) throw this.#failure(failed.code, `${pass.name}: ${failed.message}`, failed.at);
		if (changed) this.verify(`the result of '${pass.name}'`);
		this.#options.onAfterPass?.(record, this.#model);
	}

	async #run(pass: Pass, later: readonly Pass[], stats: Record<string, number>): Promise<boolean> {
		try {
			return await pass.run(this.#model, {
				target: this.#options.target,
				later: later.map(({ name }) => name),
				signal: this.#signal,
				report: (code, message, at, notes = []) => this.#report(code, message, at, notes),
				count: (stat, by = 1) => {
					stats[stat] = (stats[stat] ?? 0) + by;
				},
				reportWeight: (entry) => this.#reportWeight(entry),
				defer: (work) => this.#defer(pass, work),
				written: this.#options.written ?? Promise.resolve(),
				progress: (done, total) => this.#options.onProgress?.(pass.name, done, total),
				readModel: (path) => this.#readModel(path),
				runModel: async (part) => this.#options.runModel?.(part),
				observer: this.#options.observer,
			});
		} catch (error) {
			throw this.#failureOf(pass, error);
		}
	}

	#defer(pass: Pass, work: Promise<void>): void {
		const settled = work.catch((error: unknown) => {
			throw this.#failureOf(pass, error);
		});
		// Somebody awaits it later; until then a failure must not count as unhandled.
		settled.catch(() => undefined);
		this.#deferred.push(settled);
	}

	/** What the pipeline rejects with when `pass` throws `error`; bugs stay as they are. */
	#failureOf(pass: Pass, error: unknown): unknown {
		if (this.#signal.aborted) return this.#failure("pass/aborted", `'${pass.name}' was cancelled`, {}, error);
		if (!(error instanceof QGraphError)) return error;
		return this.#failure(error.code, `${pass.name}: ${error.message}`, error.at, error);
	}

	#report(code: DiagnosticCode, message: string, at: Location, notes: readonly string[]): void {
		const diagnostic: Diagnostic = { code, severity: CODES[code].severity, message, at, notes };
		this.#diagnostics.push(diagnostic);
		this.#options.onDiagnostic?.(diagnostic);
	}

	/**
	 * That a pass kept a weight does not undo what another one did. Quantizing anew is only a step on the way: what becomes
	 * of the weight afterwards counts, and the loss stays with it.
	 */
	#reportWeight(entry: WeightEntry): void {
		const key = `${entry.graph}\0${entry.node}\0${entry.weight}`;
		const known = this.#weights.get(key);
		const isConverted = known?.status === "converted" && known.code !== "weight/requantized";
		if (entry.status === "kept" && isConverted) return;
		const loss = known?.requantizedSqnrDb === undefined ? {} : { requantizedSqnrDb: known.requantizedSqnrDb };
		this.#weights.set(key, { ...loss, ...entry });
	}

	#readModel(path: string): Promise<Model> {
		if (this.#options.readModel === undefined) {
			throw new QGraphError("pass/failed", `cannot read '${path}': the pipeline was not given a way to read models`);
		}
		return this.#options.readModel(path);
	}

	#failure(code: DiagnosticCode, message: string, at: Location, cause?: unknown): PipelineError {
		return new PipelineError(code, message, at, this.report(), cause === undefined ? undefined : { cause });
	}
}
