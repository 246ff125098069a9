import { CODES, type Diagnostic, type DiagnosticCode, type Location, QGraphError } from "../../diagnostics.js";
import type { Model } from "../../ir/model.js";
import { verifyModel } from "../../ir/verify.js";
import type { Target } from "../../targets/target.js";
import type { Pass } from "./pass.js";
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
	/** How passes read other models. */
	readonly readModel?: (path: string) => Promise<Model>;
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
	for (const pass of passes) await run.pass(pass);
	return run.report();
}

class PipelineRun {
	readonly #model: Model;
	readonly #options: PipelineOptions;
	readonly #signal: AbortSignal;
	readonly #passes: PassRecord[] = [];
	readonly #diagnostics: Diagnostic[] = [];
	readonly #weights: Map<string, WeightEntry> = new Map();

	constructor(model: Model, options: PipelineOptions) {
		this.#model = model;
		this.#options = options;
		this.#signal = options.signal ?? new AbortController().signal;
	}

	report(): PipelineReport {
		return { passes: this.#passes, diagnostics: this.#diagnostics, weights: [...this.#weights.values()] };
	}

	verify(when: string): void {
		const [first, ...others] = verifyModel(this.#model);
		if (first === undefined) return;
		this.#diagnostics.push(first, ...others);
		const more = others.length > 0 ? ` (and ${others.length} more)` : "";
		throw this.#failure(first.code, `${when} is not a valid model: ${first.message}${more}`, first.at);
	}

	async pass(pass: Pass): Promise<void> {
		const stats: Record<string, number> = {};
		const before = this.#diagnostics.length;
		const start = performance.now();
		if (this.#signal.aborted) throw this.#failure("pass/aborted", `cancelled before '${pass.name}'`, {});
		this.#options.onBeforePass?.(pass, this.#model);
		const changed = await this.#run(pass, stats);
		const milliseconds = performance.now() - start;
		const record = { name: pass.name, options: pass.options, changed, milliseconds, stats };
		this.#passes.push(record);
		const failed = this.#diagnostics.slice(before).find((diagnostic) => diagnostic.severity === "error");
		if (failed !== undefined) throw this.#failure(failed.code, `${pass.name}: ${failed.message}`, failed.at);
		if (changed) this.verify(`the result of '${pass.name}'`);
		this.#options.onAfterPass?.(record, this.#model);
	}

	async #run(pass: Pass, stats: Record<string, number>): Promise<boolean> {
		try {
			return await pass.run(this.#model, {
				target: this.#options.target,
				signal: this.#signal,
				report: (code, message, at, notes = []) => this.#report(code, message, at, notes),
				count: (stat, by = 1) => {
					stats[stat] = (stats[stat] ?? 0) + by;
				},
				reportWeight: (entry) => this.#weights.set(`${entry.graph}\0${entry.node}\0${entry.weight}`, entry),
				progress: (done, total) => this.#options.onProgress?.(pass.name, done, total),
				readModel: (path) => this.#readModel(path),
			});
		} catch (error) {
			if (this.#signal.aborted) throw this.#failure("pass/aborted", `'${pass.name}' was cancelled`, {}, error);
			if (!(error instanceof QGraphError)) throw error;
			throw this.#failure(error.code, `${pass.name}: ${error.message}`, error.at, error);
		}
	}

	#report(code: DiagnosticCode, message: string, at: Location, notes: readonly string[]): void {
		const diagnostic: Diagnostic = { code, severity: CODES[code].severity, message, at, notes };
		this.#diagnostics.push(diagnostic);
		this.#options.onDiagnostic?.(diagnostic);
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
