import { QGraphError } from "../diagnostics.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { dataTypeName } from "../ir/types.js";
import { decide } from "../recipe/decide.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { findUnits } from "../recipe/find-units.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import { ruleFaults, ruleName } from "../recipe/rule-faults.js";
import { weightSiteAt } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import type { WeightEntry } from "./infra/report.js";
import { annotateSite } from "./support/annotation.js";
import type { Refusal } from "./support/eligibility.js";
import { KnownStatistics, type Statistics } from "./support/known-statistics.js";
import { mapAhead } from "./support/map-ahead.js";
import { PRECISION_KEY } from "./support/operator-precision.js";
import { quantizeWeight } from "./support/quantize-weight.js";
import { DEFAULT_EXPONENT, type QuantizedWeight } from "./support/quantized-weight.js";
import { groupDecisions, type ModelDecision, type RecipeGroup } from "./support/recipe-groups.js";
import { Spool } from "./support/spool.js";
import { TaskPool } from "./support/task-pool.js";
import { decibels, describeSite } from "./support/weight-entry.js";
import { weightRounds } from "./support/weight-rounds.js";

export interface ApplyPrecisionRecipeOptions {
	/** A recipe file, the name of a built-in recipe, or a precision. */
	readonly recipe: string;
	/** `max` is AIMET's min-max arithmetic, `search` finds the scales and codes of least error. */
	readonly fit: "max" | "search";
	/** Of the error that `search` minimizes, a whole number from 2 to 8; 0: 2 for weights with importance, else 4. */
	readonly exponent: number;
	/** 4-bit codes of a search in blocks: -8..7 or -7..7. */
	readonly codes: "full" | "restricted";
	/** File of importance weights by input channel. */
	readonly importance: string;
	/** Folder of second moments of inputs, for GPTQ. */
	readonly hessian: string;
}

/**
 * `MatMul(x, W)` -> `MatMul(x, DequantizeLinear(codes, scales))` with what a recipe says of W: int4 in blocks (LPBQ or BQ),
 * int4, int8 or int16 with a scale a channel or a tensor, or float16. Attention products are annotated with theirs.
 * The language of recipes is in recipe/, the arithmetic in quant/fit.ts and quant/channel-codes.ts.
 */
export const applyPrecisionRecipe = definePass<ApplyPrecisionRecipeOptions>({
	name: "apply-precision-recipe",
	summary: "Quantize float weights as a recipe says, weight by weight.",
	options: {
		recipe: {
			default: "",
			describe: "a recipe file, a built-in recipe (`qgraph recipes`), or a precision: 16a4w_block",
		},
		fit: {
			default: "search",
			choices: ["max", "search"],
			describe: "max: AIMET's arithmetic; search: scales and codes of least error",
		},
		exponent: {
			default: 0,
			describe: "of the error that search minimizes, 2 to 8; 0: 2 for weights with importance, else 4",
		},
		codes: {
			default: "full",
			choices: ["full", "restricted"],
			describe: "4-bit codes of a search in blocks: -8..7, or -7..7",
		},
		importance: {
			default: "",
			describe: "how much each input channel of a weight counts: .npz, .json, or llama.cpp's imatrix",
		},
		hessian: {
			default: "",
			describe: "folder of second moments of the inputs, with which codes are chosen by GPTQ",
		},
	},
	requires(_model, { options: { recipe, exponent } }) {
		if (recipe === "") {
			throw new QGraphError("recipe/unknown", "no recipe was named; give a file, a built-in recipe, or a precision");
		}
		if (exponent === 0 || (Number.isInteger(exponent) && exponent >= 2 && exponent <= 8)) return;
		throw new QGraphError("pass/unknown-option", `exponent is ${exponent}, expected a whole number from 2 to 8, or 0`);
	},
	async run(model, context) {
		const { options } = context;
		const recipe = findRecipe(options.recipe);
		const { decisions } = decide(recipe, findUnits(model));
		for (const { code, message, remedy } of ruleFaults(recipe, decisions)) context.report(code, message, {}, [remedy]);
		let changed = annotateProducts(decisions);
		const { groups, kept } = groupDecisions(decisions);
		for (const { decision, refusal } of kept) keep(context, decision, refusal);
		const wanted = groups.filter((group) => isPossible(model, group, context));
		const pool = new TaskPool();
		try {
			const quantized = await quantizeAll(model, wanted, context, { pool, spool: new Spool() });
			context.defer(measureAll(quantized, context).finally(() => pool.close()));
			changed ||= quantized.length > 0;
			return changed;
		} catch (error) {
			await pool.close();
			throw error;
		}
	},
});

type Context = PassContext<ApplyPrecisionRecipeOptions>;

interface Quantized {
	readonly weight: QuantizedWeight;
	readonly entries: readonly WeightEntry[];
}

/** So many weights are worked on at a time, so that no core waits for the end of one. */
const WEIGHTS_AHEAD = 4;

/** Second moments may be larger than weights, and each matrix is factorized on one core. */
const MOMENTS_AHEAD = 2;

interface RecipeTools {
	readonly pool: TaskPool;
	readonly spool: Spool;
}

/** Quantizes all weights, round by round where somebody looks at their inputs in between. */
async function quantizeAll(
	model: Model,
	groups: readonly RecipeGroup[],
	context: Context,
	tools: RecipeTools,
): Promise<Quantized[]> {
	const { options } = context;
	const names = new NameScope(model);
	const statistics = new KnownStatistics(options, context.report);
	const quantized: Quantized[] = [];
	let done = 0;
	for (const round of await weightRounds(model, groups, context.observer, options.hessian)) {
		const find = statistics.finder(await round.observe());
		for await (const [group, result] of quantizeRound(round.groups, find, context, tools)) {
			context.progress(++done, groups.length);
			if ("code" in result) {
				for (const decision of group.decisions) keep(context, decision, result);
				continue;
			}
			if (group.unfit !== undefined) reportUnfit(group, group.unfit, context);
			const entries = entriesOf(group, result, options.fit);
			for (const entry of entries) context.reportWeight(entry);
			if (result.values !== undefined) context.observer?.quantized(group.weight.constant.value.name, result.values);
			result.insert(names);
			for (const { node, input, graphSite, opset } of group.weight.sites) {
				annotateSite(weightSiteAt(node, input, graphSite, opset)!);
				node.annotations.set(PRECISION_KEY, group.setting.precision);
			}
			context.count(`weights ${group.setting.precision}`);
			quantized.push({ weight: result, entries });
		}
	}
	if (quantized.some(({ weight }) => weight.form !== "fp16")) model.irVersion = Math.max(model.irVersion, 10);
	return quantized;
}

/** Finds scales and codes of weights, some ahead of what has been taken. */
function quantizeRound(
	groups: readonly RecipeGroup[],
	find: (group: RecipeGroup) => Statistics,
	{ options, signal, observer }: Context,
	tools: RecipeTools,
): AsyncGenerator<readonly [RecipeGroup, QuantizedWeight | Refusal]> {
	const fit = { fit: options.fit, codeMin: options.codes === "full" ? -8 : -7 } as const;
	const ahead = options.hessian === "" && observer === undefined ? WEIGHTS_AHEAD : MOMENTS_AHEAD;
	return mapAhead(groups, ahead, (group) => {
		signal.throwIfAborted();
		const known = find(group);
		const isKnown = known.importance !== undefined || known.moments !== undefined;
		const exponent = options.exponent || (isKnown ? 2 : DEFAULT_EXPONENT);
		return quantizeWeight(group.weight, group.setting, { ...fit, ...known, exponent }, tools);
	});
}

/** Completes the entries of weights, which may take a walk over all of them. */
async function measureAll(quantized: readonly Quantized[], { signal, reportWeight }: Context): Promise<void> {
	const measured = mapAhead(quantized, WEIGHTS_AHEAD, ({ weight }) => {
		signal.throwIfAborted();
		return weight.error();
	});
	for await (const [{ entries }, error] of measured) {
		for (const entry of entries) reportWeight({ ...entry, sqnrDb: decibels(error) });
	}
}

/** Says at the products of attentions what they are to become: that is a matter of activations, which have no weights. */
function annotateProducts(decisions: readonly ModelDecision[]): boolean {
	let changed = false;
	for (const { unit, setting } of decisions) {
		if (unit.kind !== "attention-product" || setting.precision === "keep") continue;
		changed ||= unit.operator.annotations.get(PRECISION_KEY) !== setting.precision;
		unit.operator.annotations.set(PRECISION_KEY, setting.precision);
	}
	return changed;
}

/** Operator sets in which DequantizeLinear takes codes of so many bits. */
function opsetFor(group: RecipeGroup): number {
	const { weightBits, isFloat } = PRECISION_FACTS[group.setting.precision];
	if (isFloat) return 6;
	return weightBits === 8 ? 13 : 21;
}

function isPossible(model: Model, group: RecipeGroup, context: Context): boolean {
	const needed = opsetFor(group);
	const opset = Math.min(...group.weight.sites.map((site) => site.opset), onnxOpset(model) ?? 0);
	if (opset >= needed) return true;
	const message = `${group.setting.precision} for weight '${group.weight.constant.value.name}' needs operator set ${needed}, but the model imports ${opset}; --upgrade-opset raises it`;
	for (const decision of group.decisions) keep(context, decision, { code: "weight/opset", message });
	return false;
}

function keep(context: Context, { unit }: ModelDecision, { code, message }: Refusal): void {
	const { node, graph, weight } = unit;
	context.count("weights kept");
	context.report(code, message, { graph, node, ...(weight === undefined ? {} : { value: weight }) });
	if (unit.kind === "weight") context.reportWeight({ ...describeSite(unit.site), status: "kept", code, message });
}

function entriesOf(group: RecipeGroup, weight: QuantizedWeight, fit: "max" | "search"): WeightEntry[] {
	const { constant, sites } = group.weight;
	const { precision, blockSize } = group.setting;
	const name = constant.value.name;
	const isLossyFit = weight.form !== "fp16";
	const made = {
		status: "converted",
		code: "weight/converted",
		message: `weight '${name}' became ${precision}`,
		form: weight.form,
		precision,
		...(PRECISION_FACTS[precision].isBlock ? { blockSize } : {}),
		bytes: weight.bytes,
		reference: "float",
		...(isLossyFit ? { fit: weight.fit ?? fit } : {}),
		...(weight.errorOfMax === undefined ? {} : { sqnrDbOfMax: decibels(weight.errorOfMax) }),
	} as const;
	const tables = group.decisions.filter(({ unit }) => unit.kind === "embedding");
	return [
		...sites.map((site) => ({ ...describeSite(site), ...made })),
		...tables.map(({ unit: { node, op, graph } }) => ({
			...{ weight: name, node, op, graph, shape: constant.tensor.shape },
			dtype: dataTypeName(constant.tensor.dtype),
			...made,
		})),
	];
}

function reportUnfit({ weight, decision, setting }: RecipeGroup, reason: string, context: Context): void {
	const name = weight.constant.value.name;
	const { rule, unit } = decision;
	const source = rule === undefined ? "the default" : ruleName(rule);
	context.report(
		"recipe/unfit",
		`weight '${name}' of shape [${weight.constant.tensor.shape.join(", ")}] cannot be ${decision.setting.precision}, which ${source} of the recipe asks for: ${reason}`,
		{ graph: unit.graph, node: unit.node, value: name },
		[`it became ${setting.precision} ${setting.granularity}; a rule that names it can choose otherwise`],
	);
}
