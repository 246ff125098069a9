import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { nodeLabel } from "../ir/walk.js";
import { groupDecisions, type ModelDecision } from "../passes/support/recipe-groups.js";
import type { ModelUnit } from "../recipe/find-units.js";
import { type Setting, settingOf } from "../recipe/recipe.js";
import type { Role } from "../recipe/role.js";
import type { Constant } from "../weights/constant.js";
import type { UnitKind } from "./analysis.js";

/** Operators that compute with one constant, or with none: a product of two activations. */
export interface UnitPart {
	readonly constant: Constant | undefined;
	/** In the graph's order, each once. */
	readonly operators: readonly Node[];
	/** What recipes decide about, one an operator. */
	readonly units: readonly ModelUnit[];
	/** What the base recipe makes of it; undefined where it is kept. */
	readonly base: Setting | undefined;
}

/** What becomes of products and caches that no rule names. */
const PRODUCT_SETTING: Setting = settingOf("16a16w");

/** What is quantized as one, in the model. */
export interface SensitivityUnit {
	readonly name: string;
	readonly kind: UnitKind;
	readonly role: Role | undefined;
	readonly layer: number | undefined;
	readonly parts: readonly UnitPart[];
	/** Of a cache: the names of its graph inputs. */
	readonly caches: readonly string[];
	/** What the base recipe makes of all parts; undefined where they are kept. */
	readonly base: Setting | undefined;
	/** Is it a table that no rule names, and has as many bits as activations for that? */
	readonly isLikeActivations: boolean;
	readonly elements: number;
	readonly floatBytes: number;
	/** Does it make an output of the model, or the embeddings that all else is made of? */
	readonly isAtTheEnds: boolean;
}

interface Cache {
	readonly unit: ModelUnit;
	readonly base: Setting;
}

const FUSED: readonly (Role | undefined)[] = ["q_proj", "k_proj", "v_proj"];

/**
 * Everything in a model that can be quantized by itself, in the graph's order; weights that are no floats are left out.
 *
 * @param decisions of the base recipe about all units of the model.
 * @param tables what becomes of tables that no rule names; undefined where they are kept.
 */
export function findSensitivityUnits(
	model: Model,
	decisions: readonly ModelDecision[],
	tables: Setting | undefined,
): SensitivityUnit[] {
	const places = new Map<Node, number>();
	for (const node of model.graph.nodes) places.set(node, places.size);
	const drafts = new Map<string, { kind: UnitKind; parts: UnitPart[]; caches: Cache[] }>();
	const draftAt = (key: string, kind: UnitKind) => {
		const draft = drafts.get(key) ?? { kind, parts: [], caches: [] };
		drafts.set(key, draft);
		return draft;
	};
	for (const part of weightParts(decisions)) {
		const [unit] = part.units;
		const key = FUSED.includes(unit!.role) ? fusedKey(unit!, part.base) : keyOfConstant(unit!, part);
		const kind = kindOf(part);
		const isUnnamed = kind === "embedding" && part.base === undefined && !isNamed(part, decisions);
		draftAt(key, kind).parts.push(isUnnamed ? { ...part, base: tables } : part);
	}
	decisions.forEach(({ unit, setting }, index) => {
		const base = setting.precision === "keep" ? PRODUCT_SETTING : setting;
		if (unit.kind === "attention-product") {
			const draft = draftAt(`product ${index}`, "attention-product");
			draft.parts.push({ constant: undefined, operators: [unit.operator], units: [unit], base });
		} else if (unit.kind === "kv-cache") {
			draftAt(`cache ${unit.layer ?? unit.node}`, "kv-cache").caches.push({ unit, base });
		}
	});
	const names = new Set<string>();
	return [...drafts.values()]
		.map((draft) => unitOf(draft, names, decisions))
		.map((unit) => ({ unit, at: placeOf(unit, places) }))
		.sort((a, b) => a.at - b.at)
		.map(({ unit }) => unit);
}

/** Constants that can be quantized, with all operators that read them. */
function weightParts(decisions: readonly ModelDecision[]): UnitPart[] {
	const bases = new Map(
		groupDecisions(decisions).groups.map(({ weight, setting }) => [weight.constant.value, setting]),
	);
	const setting = settingOf("16a8w");
	const { groups } = groupDecisions(decisions.map((decision) => ({ ...decision, setting })));
	const parts = new Map<Value, UnitPart>();
	for (const { weight, decisions } of groups) {
		const { constant } = weight;
		const base = bases.get(constant.value);
		const before = parts.get(constant.value);
		const operators = [...(before?.operators ?? []), ...weight.uses.map(({ node }) => node)];
		const found = [...(before?.units ?? []), ...decisions.map(({ unit }) => unit)];
		parts.set(constant.value, { constant, operators: [...new Set(operators)], units: found, base });
	}
	return [...parts.values()];
}

function keyOfConstant(unit: ModelUnit, { constant }: UnitPart): string {
	return `${unit.graph} constant ${constant!.value.name}`;
}

/** The projections of one attention that get one setting: of one layer, or where that is not known, of one activation. */
function fusedKey(unit: ModelUnit, base: Setting | undefined): string {
	const operator = unit.kind === "weight" ? unit.site.node : undefined;
	return `${unit.graph} fused ${unit.layer ?? operator?.inputs[0]?.name} ${JSON.stringify(base)}`;
}

function kindOf({ units }: UnitPart): UnitKind {
	const isTable = units.some(({ kind }) => kind === "embedding");
	const isWeight = units.some(({ kind }) => kind === "weight");
	return isTable ? (isWeight ? "tied" : "embedding") : "weight";
}

function unitOf(
	{ kind, parts, caches }: { kind: UnitKind; parts: readonly UnitPart[]; caches: readonly Cache[] },
	names: Set<string>,
	decisions: readonly ModelDecision[],
): SensitivityUnit {
	const units = [...parts.flatMap((part) => part.units), ...caches.map(({ unit }) => unit)];
	const constants = parts.flatMap(({ constant }) => constant ?? []);
	const isFused = parts.length > 1;
	const plain = isFused ? fusedName(parts) : (constants[0]?.value.name ?? commonStart(units.map(({ node }) => node)));
	let name = plain;
	for (let copy = 2; names.has(name); copy++) name = `${plain} (${copy})`;
	names.add(name);
	const roles = new Set(units.map(({ role }) => role));
	return {
		name,
		kind: isFused ? "fused" : kind,
		role: roles.size === 1 ? units[0]!.role : undefined,
		layer: units[0]!.layer,
		parts,
		caches: caches.map(({ unit }) => unit.node),
		base: parts[0]?.base ?? caches[0]?.base,
		isLikeActivations: kind === "embedding" && parts.every((part) => !isNamed(part, decisions)),
		elements: constants.reduce((sum, { tensor }) => sum + elementCount(tensor.shape), 0),
		floatBytes: constants.reduce((sum, { tensor }) => sum + tensor.data.byteLength, 0),
		isAtTheEnds:
			units.some(({ role }) => role === "lm_head" || role === "embedding") ||
			parts.some(({ operators }) => operators.some(makesOutput)),
	};
}

/** Does a rule of the recipe say something of the part? */
function isNamed({ units }: UnitPart, decisions: readonly ModelDecision[]): boolean {
	return decisions.some(({ unit, rule }) => rule !== undefined && units.includes(unit));
}

/** Does a result of the operator leave the model, at most with a bias added? */
function makesOutput({ outputs }: Node): boolean {
	return outputs.some((value) => {
		if (value.isGraphOutput) return true;
		return value.uses.some(({ node }) => isOnnxOp(node, "Add") && node.outputs[0]?.isGraphOutput === true);
	});
}

/** `model.layers.0.self_attn.qkv` of weights that are named so, else of operators. */
function fusedName(parts: readonly UnitPart[]): string {
	const weights = commonStart(parts.map(({ constant }) => constant!.value.name));
	const start = /[./]$/.test(weights)
		? weights
		: commonStart(parts.flatMap(({ operators }) => operators.map((node) => nodeLabel(node))));
	return `${start}qkv`;
}

/** What all names begin with, up to a dot or a slash; the first name where that is nothing. */
function commonStart(names: readonly string[]): string {
	const [first = ""] = names;
	if (names.length === 1) return first;
	let length = 0;
	while (length < first.length && names.every((name) => name[length] === first[length])) length++;
	const start = first.slice(0, length).replace(/[^./]*$/, "");
	return start === "" ? first : start;
}

function placeOf({ parts, caches }: SensitivityUnit, places: ReadonlyMap<Node, number>): number {
	if (caches.length > 0) return -1;
	const found = parts.flatMap(({ operators }) => operators.map((node) => places.get(node) ?? places.size));
	return Math.min(...found);
}

/** How a candidate is called: as `--recipe` takes it. */
export function candidateName({ precision, blockSize }: Setting): string {
	return precision === "16a4w_block" ? `${precision}:${blockSize}` : precision;
}
