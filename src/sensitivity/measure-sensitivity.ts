import { existsSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { calibrate } from "../calibration/calibrate.js";
import { calibratedInterval, calibrationEncodings } from "../calibration/calibration-encodings.js";
import { fingerprint } from "../calibration/state.js";
import type { Diagnostic } from "../diagnostics.js";
import { writeEncodings } from "../encodings/write-encodings.js";
import type { Model } from "../ir/model.js";
import type { Node } from "../ir/node.js";
import { serializedSize } from "../onnx/file.js";
import { applyPrecisionRecipe } from "../passes/apply-precision-recipe.js";
import { insertActivationQdq } from "../passes/insert-activation-qdq.js";
import { MomentsFolder } from "../passes/support/input-statistics.js";
import { mapAhead } from "../passes/support/map-ahead.js";
import type { ModelDecision } from "../passes/support/recipe-groups.js";
import { Spool } from "../passes/support/spool.js";
import { TaskPool } from "../passes/support/task-pool.js";
import type { Interval } from "../quant/grid.js";
import { passesAround } from "../quantize/passes-around.js";
import { collectStatistics, type StatisticsFiles } from "../quantize/statistics.js";
import { decide } from "../recipe/decide.js";
import { findUnits } from "../recipe/find-units.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import { type Recipe, type Setting, settingOf } from "../recipe/recipe.js";
import { checkModel } from "../targets/check-model.js";
import { AnalysisState } from "./analysis-state.js";
import { causesOf } from "./causes.js";
import { cumulativeNoise } from "./cumulative-noise.js";
import { findSensitivityUnits, type SensitivityUnit } from "./find-sensitivity-units.js";
import { IsolatedNoise } from "./isolated-noise.js";
import { keepInputs } from "./keep-inputs.js";
import type { ActivationBits, InputKeeper } from "./layer-inputs.js";
import { located } from "./located.js";
import type { IsolatedUnit, MeasureOptions, MeasureSamples, QuantizedNoise } from "./measure-options.js";
import type { OutputNoise } from "./output-noise.js";
import { prepared, runOn } from "./prepare-model.js";
import { type Choice, type FloatSamples, SwitchedModel } from "./switched-model.js";
import { WorkLock } from "./work-lock.js";

/** Samples that end-to-end noise is measured with. */
const END_TO_END_SAMPLES = 64;

/** Units that are worked on at a time, so that no core waits. */
const UNITS_AHEAD = 3;

/** Makes all measurements of an analysis, each once: what an interrupted one had measured is taken over. */
export class SensitivityMeasure {
	readonly model: Model;
	readonly decisions: readonly ModelDecision[];
	readonly units: readonly SensitivityUnit[];
	readonly diagnostics: readonly Diagnostic[];
	readonly #options: MeasureOptions;
	readonly #samples: MeasureSamples | undefined;
	readonly #lock: WorkLock;
	readonly #state: AnalysisState;
	readonly #pool = new TaskPool();
	readonly #spool = new Spool();
	readonly #recipe: Recipe;
	#switched: SwitchedModel | undefined;
	readonly #floatSamples: Map<"measured" | "held-out", FloatSamples> = new Map();

	private constructor(
		model: Model,
		recipe: Recipe,
		samples: MeasureSamples | undefined,
		options: MeasureOptions,
		diagnostics: readonly Diagnostic[],
	) {
		this.model = model;
		this.diagnostics = diagnostics;
		this.#options = options;
		this.#samples = samples;
		this.#recipe = recipe;
		this.decisions = decide(recipe, findUnits(model)).decisions;
		this.units = findSensitivityUnits(model, this.decisions, this.#tables);
		const { input, dim, inputValues, folder, fit, products, headroom, isResumed } = options;
		mkdirSync(folder, { recursive: true });
		const belongsTo = {
			model: [path.basename(input), fingerprint(model), dim, inputValues],
			data: [samples?.all.name ?? "", options.images ?? {}],
			recipe: [recipe.default, recipe.rules.map(({ match, setting }) => [match, setting])],
			how: [fit, products, samples?.measured ?? 0, samples?.heldOut ?? 0, headroom],
		};
		this.#lock = new WorkLock(folder);
		try {
			this.#state = new AnalysisState(path.join(folder, "state.json"), belongsTo, isResumed);
		} catch (error) {
			this.#lock.release();
			throw error;
		}
	}

	static async open(
		recipe: Recipe,
		options: MeasureOptions,
		samplesOf: (model: Model) => Promise<MeasureSamples | undefined>,
	): Promise<SensitivityMeasure> {
		const { model, diagnostics } = await prepared(options);
		return new SensitivityMeasure(model, recipe, await samplesOf(model), options, diagnostics);
	}

	get samples(): MeasureSamples | undefined {
		return this.#samples;
	}

	/** What becomes of tables that no rule names, where activations are quantized. */
	get #tables(): Setting | undefined {
		const { activationBits } = PRECISION_FACTS[this.#recipe.default.precision];
		if (this.#samples === undefined || activationBits === undefined) return undefined;
		return settingOf(activationBits === 8 ? "8a8w" : "16a16w", { granularity: "per-tensor" });
	}

	/** Ranges of all values; with `gptq` second moments of inputs are in the folder then. */
	async #ranges(): Promise<(value: string) => Interval | undefined> {
		const ranges = await this.#state.once("ranges", async () => {
			const { folder, fit, headroom, signal } = this.#options;
			const calibration = await calibrate(this.model, this.#samples!.source, {
				...(fit === "gptq" ? { hessian: path.join(folder, "moments") } : {}),
				signal,
				onProgress: (done, total) => this.#progress("calibrating", done, total),
			});
			writeEncodings(calibrationEncodings(calibration, { headroom }), this.encodings, { overwrite: true });
			return Object.fromEntries(
				[...calibration.values].map(([name, seen]) => [name, calibratedInterval(seen, { headroom })]),
			);
		});
		return (value) => ranges[value];
	}

	/** Where the ranges of activations are, once they are known. */
	get encodings(): string {
		return path.join(this.#options.folder, "ranges.encodings");
	}

	/**
	 * What every unit loses as each of `settingsOf` it, by itself: at its outputs where there are samples, else in its weights.
	 *
	 * @param needsRanges calibrate first; without it activations are rounded to codes over the range of each sample.
	 */
	async isolated(settingsOf: SettingsOf, needsRanges: boolean): Promise<Map<string, IsolatedUnit>> {
		const { folder, fit, signal } = this.#options;
		const rangeOf = this.#samples !== undefined && needsRanges ? await this.#ranges() : () => undefined;
		const isKnown = this.units.every((unit) => this.#state.has(isolatedName(unit, settingsOf)));
		const inputs = isKnown ? Promise.resolve(new Map<Node, InputKeeper>()) : this.#inputs(settingsOf, rangeOf);
		inputs.catch(() => undefined);
		const moments = path.join(folder, "moments");
		const noise = new IsolatedNoise({
			model: this.model,
			fit,
			moments: fit === "gptq" && existsSync(moments) ? new MomentsFolder(moments) : undefined,
			tools: { pool: this.#pool, spool: this.#spool },
			folder: needsRanges ? folder : undefined,
			rangeOf,
			inputs,
		});
		const found = new Map<string, IsolatedUnit>();
		const places = new Map(this.units.map((unit, index) => [unit, index] as const));
		const measured = mapAhead(this.units, UNITS_AHEAD, async (unit) => {
			signal?.throwIfAborted();
			const result = await this.#state.once(isolatedName(unit, settingsOf), async () => {
				const candidates = await noise.measure(unit, `unit-${places.get(unit)}`, settingsOf(unit));
				const read = await inputs;
				const causes = await causesOf(unit, read, (part) => noise.spreadOf(part), this.#pool);
				return { candidates, notFinite: notFiniteIn(unit, read), causes };
			});
			return located(result, folder);
		});
		try {
			for await (const [unit, result] of measured) {
				found.set(unit.name, result);
				this.#progress("measuring units", found.size, this.units.length);
			}
		} finally {
			await noise.close();
		}
		await this.#pool.close();
		return found;
	}

	/** What {@link isolated} had found until it was interrupted. */
	isolatedSoFar(settingsOf: SettingsOf): Map<string, IsolatedUnit> {
		return new Map(
			this.units.flatMap((unit) => {
				const found = this.#state.get<IsolatedUnit>(isolatedName(unit, settingsOf));
				return found === undefined ? [] : [[unit.name, located(found, this.#options.folder)] as const];
			}),
		);
	}

	/** Where measurements are kept. */
	get folder(): string {
		return this.#options.folder;
	}

	async #inputs(
		settingsOf: SettingsOf,
		rangeOf: (value: string) => Interval | undefined,
	): Promise<Map<Node, InputKeeper>> {
		if (this.#samples === undefined) return new Map();
		const settings = this.units.flatMap((unit) => settingsOf(unit));
		const bits = settings.flatMap(({ precision }) => PRECISION_FACTS[precision].activationBits ?? []);
		const { all, firstMeasured, measured } = this.#samples;
		return keepInputs(this.model, this.units, all, {
			bits: [...new Set<ActivationBits>(bits)],
			rangeOf,
			first: firstMeasured,
			samples: measured,
			signal: this.#options.signal,
			onProgress: (done, total) => this.#progress("reading inputs of layers", done, total),
		});
	}

	/** What samples that are not held out tell of the model, as `qgraph quantize` collects it for a recipe. */
	async #statisticsFor(recipe: string): Promise<Pick<StatisticsFiles, "encodings" | "hessian">> {
		const { fit, signal } = this.#options;
		const folder = path.join(this.#options.folder, "suggested");
		rmSync(folder, { recursive: true, force: true });
		mkdirSync(folder);
		return collectStatistics(this.model, this.#samples!.calibration, folder, {
			recipe,
			gptq: fit === "gptq",
			signal,
			onProgress: (done, total) => this.#progress("calibrating with all samples", done, total ?? 0),
		});
	}

	/**
	 * The model quantized throughout, compared with the float one.
	 *
	 * @param recipe as passes take it, a file or a name.
	 * @param name by which it is shown.
	 * @param suggested the text of a suggested recipe, for which all that is not held out is calibrated with, as `qgraph quantize`
	 *   will, instead of what units are measured with.
	 */
	async quantized(recipe: string, name: string, suggested?: string): Promise<QuantizedNoise> {
		return this.#state.once(`quantized ${suggested ?? name}`, async () => {
			await this.#ranges();
			await this.#closeSwitched();
			const { folder, target, products, fit, signal } = this.#options;
			this.#progress(`quantizing: ${name}`, 0, 1);
			const { model } = await prepared(this.#options);
			const { encodings, hessian } =
				suggested !== undefined
					? await this.#statisticsFor(recipe)
					: { encodings: this.encodings, hessian: fit === "gptq" ? path.join(folder, "moments") : "" };
			const [, after] = passesAround(target);
			const passes = [
				applyPrecisionRecipe({ recipe, hessian, fit: fit === "max" ? "max" : "search" }),
				insertActivationQdq({ recipe, encodings, products }),
				...after.map((pass) => pass()),
			];
			await runOn(model, passes, this.#options);
			const bytes = serializedSize(model);
			const findings = target === undefined ? [] : await checkModel(model, target);
			const { model: float } = await prepared(this.#options);
			const { all, firstHeldOut, heldOut, firstMeasured, measured } = this.#samples!;
			const { operators, outputs } = await cumulativeNoise(float, model, this.units, {
				folder,
				source: all,
				first: firstMeasured,
				samples: Math.min(END_TO_END_SAMPLES, measured),
				firstHeldOut,
				heldOut,
				signal,
				onProgress: (done, total) => this.#progress(`comparing layers: ${name}`, done, total),
			});
			return { operators: Object.fromEntries(operators), outputs: outputs ?? null, findings, bytes };
		});
	}

	/** What becomes of the outputs when units become what `choice` says, nothing else being quantized. */
	async endToEnd(choice: Choice, on: "measured" | "held-out"): Promise<OutputNoise | null> {
		const chosen = [...choice].map(([name, { setting }]) => [name, setting]).sort();
		return this.#state.once(`end to end ${on} ${JSON.stringify(chosen)}`, async () => {
			const { model, samples } = await this.#openSwitched(on);
			return (await model.noise(choice, samples, this.#options.signal)) ?? null;
		});
	}

	async #openSwitched(on: "measured" | "held-out") {
		this.#switched ??= await this.#open();
		const { all, firstHeldOut, heldOut, firstMeasured, measured } = this.#samples!;
		const samples =
			this.#floatSamples.get(on) ??
			(await this.#switched.read(
				on === "measured"
					? { source: all, first: firstMeasured, count: Math.min(END_TO_END_SAMPLES, measured) }
					: { source: all, first: firstHeldOut, count: heldOut },
			));
		this.#floatSamples.set(on, samples);
		return { model: this.#switched, samples };
	}

	async #open(): Promise<SwitchedModel> {
		const rangeOf = await this.#ranges();
		const { model } = await prepared(this.#options);
		const { decisions } = decide(this.#recipe, findUnits(model));
		const units = findSensitivityUnits(model, decisions, this.#tables);
		return SwitchedModel.open(model, units, { file: path.join(this.#options.folder, "switched.onnx"), rangeOf });
	}

	/** Writes down what was measured, and ends all threads. */
	async close(): Promise<void> {
		try {
			this.#state.save();
			await this.#closeSwitched();
			await this.#pool.close();
		} finally {
			this.#lock.release();
		}
	}

	/** So that no two models are in memory; the next run end to end loads it again. */
	async #closeSwitched(): Promise<void> {
		const switched = this.#switched;
		this.#switched = undefined;
		this.#floatSamples.clear();
		await switched?.close();
	}

	#progress(step: string, done: number, total: number): void {
		this.#options.onProgress(step, done, total);
	}
}

/** Samples of which a unit got something infinite or no number. */
function notFiniteIn({ parts }: SensitivityUnit, inputs: ReadonlyMap<Node, InputKeeper>): number {
	const counts = parts.flatMap(({ operators }) => operators.map((node) => inputs.get(node)?.notFinite ?? 0));
	return Math.max(0, ...counts);
}

/** What a unit is measured as. */
type SettingsOf = (unit: SensitivityUnit) => readonly Setting[];

function isolatedName(unit: SensitivityUnit, settingsOf: SettingsOf): string {
	return `isolated ${unit.name} ${JSON.stringify(settingsOf(unit))}`;
}
