import type { Model } from "../../ir/model.js";
import { isOnnxOp, isStandardDomain, type Node } from "../../ir/node.js";
import { allGraphs } from "../../ir/walk.js";
import { decide } from "../../recipe/decide.js";
import { findUnits, type ModelUnit, operatorUnit } from "../../recipe/find-units.js";
import { PRECISION_FACTS, type Precision } from "../../recipe/precision.js";
import type { Recipe } from "../../recipe/recipe.js";
import type { Unit } from "../../recipe/unit.js";
import { operatorOutcome } from "../../targets/operator-outcome.js";
import type { Target } from "../../targets/target.js";
import { findWeightSites } from "../../weights/weight-site.js";
import { quantizedBits } from "./existing-quantization.js";
import { inputsOfOneGrid } from "./grid-operators.js";

/** Bits of the activations that an operator reads and makes; undefined where it stays on floats. */
export type ActivationBits = 8 | 16;

/** The annotation of a node that says what a recipe wants of it. */
export const PRECISION_KEY = "qgraph.precision";

/** Operators that make constants or carry graphs, and those that convert: none computes on activations. */
const WITHOUT_GRID = ["QuantizeLinear", "DequantizeLinear", "Constant", "Cast", "If", "Loop", "Scan", "SequenceMap"];

/** Operators with weights, which the table of operators has no rows for. */
const LINEAR = ["MatMul", "Gemm", "Conv", "ConvTranspose"];

/** Of every operator of a model: on how many bits it is to compute. */
export class OperatorPrecisions {
	readonly #precisions: Map<Node, Precision> = new Map();
	/** Operators that compute on floats because the target takes them in no other form. */
	readonly keptByTarget: readonly Node[];
	readonly #default: Precision;
	/** Operators whose results are quantized already, and that no rule names. */
	readonly #existing: Map<Node, ActivationBits> = new Map();
	/** Operators that a rule, and not the default, says something of. */
	readonly #chosen: Set<Node> = new Set();

	/**
	 * What `recipe` says: of operators with weights by its rules and its default, of all others by rules that name them, their
	 * module or their layer, else by its default. Annotations of a recipe that was applied count before that.
	 */
	constructor(model: Model, recipe: Recipe, target: Target | undefined) {
		this.#default = recipe.default.precision;
		const units: (ModelUnit | (Unit & { readonly kind: "operator"; readonly operator: Node }))[] = findUnits(model);
		const known = new Set(units.map(nodeOf));
		const sites = new Map(findWeightSites(model).map((site) => [site.node, site]));
		const kept: Node[] = [];
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) {
				if (isOnnxOp(node, ...WITHOUT_GRID)) this.#precisions.set(node, "keep");
				else if (sites.get(node)?.scheme === "float") this.#precisions.set(node, "keep");
				else if (!isTaken(node, target)) {
					this.#precisions.set(node, "keep");
					kept.push(node);
				} else if (!known.has(node))
					units.push({ ...operatorUnit(node, site), kind: "operator", operator: node } as never);
			}
		}
		this.keptByTarget = kept;
		for (const { unit, rule, setting } of decide(recipe, units).decisions) {
			const node = nodeOf(unit);
			if (node === undefined || this.#precisions.has(node)) continue;
			const applied = node.annotations.get(PRECISION_KEY) as Precision | undefined;
			this.#precisions.set(node, applied ?? (rule === undefined ? this.#default : setting.precision));
			if (rule !== undefined) this.#chosen.add(node);
			const existing = rule === undefined ? quantizedBits(node) : undefined;
			if (existing !== undefined) this.#existing.set(node, existing);
		}
	}

	/** On how many bits `node` computes; undefined: on floats. */
	bitsOf(node: Node): ActivationBits | undefined {
		const { activationBits } = PRECISION_FACTS[this.precisionOf(node)];
		return activationBits === undefined ? undefined : (this.#existing.get(node) ?? activationBits);
	}

	precisionOf(node: Node): Precision {
		return this.#precisions.get(node) ?? "keep";
	}

	/** Is `node` on floats because a rule or the target says so, and not only because nothing says otherwise? */
	isFloatByChoice(node: Node): boolean {
		return this.bitsOf(node) === undefined && (this.#chosen.has(node) || this.keptByTarget.includes(node));
	}

	/** Of the right side of the product of two activations: what a rule says of it; undefined where none does. */
	rightBitsOf(node: Node): ActivationBits | undefined {
		if (!this.#chosen.has(node)) return undefined;
		return PRECISION_FACTS[this.precisionOf(node)].weightBits === 16 ? 16 : 8;
	}

	/** Of values that no operator with integers makes or reads. */
	get defaultBits(): ActivationBits {
		return PRECISION_FACTS[this.#default].activationBits ?? 16;
	}
}

function nodeOf(unit: ModelUnit | (Unit & { readonly kind: "operator"; readonly operator: Node })): Node | undefined {
	if (unit.kind === "weight") return unit.site.node;
	return unit.kind === "kv-cache" ? undefined : unit.operator;
}

/**
 * Is the operator to be quantized where the recipe wants it? Not where the target computes it right on floats only; of
 * operators that were not tried, those that only move elements are.
 */
function isTaken(node: Node, target: Target | undefined): boolean {
	if (isOnnxOp(node, ...LINEAR)) return true;
	const key = isStandardDomain(node.op.domain) ? node.op.type : `${node.op.domain}:${node.op.type}`;
	const architecture = target?.architecture ?? "v73";
	const outcome = operatorOutcome(key, "16 bits", architecture);
	if (outcome === undefined) return inputsOfOneGrid(node).length > 0;
	return outcome === "right" || operatorOutcome(key, "float", architecture) !== "right";
}
