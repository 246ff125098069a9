import { globPattern } from "../ir/names.js";
import { parseLayers } from "./layers.js";
import type { Match, Recipe, Rule, Setting } from "./recipe.js";
import type { Unit } from "./unit.js";

/** What a recipe says of one unit. */
export interface Decision<U extends Unit = Unit> {
	readonly unit: U;
	readonly setting: Setting;
	/** The rule that won; undefined for the default. */
	readonly rule: Rule | undefined;
	/** Other rules that matched and lost. */
	readonly overruled: readonly Rule[];
}

/** What a recipe says of a whole model. */
export interface Decisions<U extends Unit = Unit> {
	readonly decisions: readonly Decision<U>[];
	/** Rules that no unit matched. */
	readonly unmatched: readonly Rule[];
}

const KEEP: Setting = { precision: "keep", blockSize: 64, blockScales: "lpbq", granularity: "per-channel" };

/**
 * Applies the rules to all units: of the rules that match, the one of the highest priority wins, among equals the later
 * one. The default is for weights only: tables of embeddings, attention products and caches follow rules that name them,
 * and are kept without one.
 */
export function decide<U extends Unit>(recipe: Recipe, units: readonly U[]): Decisions<U> {
	const layerCount = 1 + Math.max(-1, ...units.map(({ layer }) => layer ?? -1));
	const rules = recipe.rules.map((rule) => ({ rule, test: testOf(rule.match, layerCount) }));
	const matched = new Set<Rule>();
	const decisions = units.map((unit): Decision<U> => {
		const found = rules.filter(({ test }) => test(unit)).map(({ rule }) => rule);
		for (const rule of found) matched.add(rule);
		const winner = found.reduce<Rule | undefined>(
			(best, rule) => (best === undefined || rule.priority >= best.priority ? rule : best),
			undefined,
		);
		const setting = winner?.setting ?? (unit.kind === "weight" ? recipe.default : KEEP);
		return { unit, setting, rule: winner, overruled: found.filter((rule) => rule !== winner) };
	});
	return { decisions, unmatched: recipe.rules.filter((rule) => !matched.has(rule)) };
}

type UnitTest = (unit: Unit) => boolean;

/** Tells whether all conditions hold for a unit of a model with so many layers. */
export function testOf(match: Match, layerCount: number): UnitTest {
	const tests: UnitTest[] = [];
	const named = (patterns: readonly string[] | undefined, name: (unit: Unit) => string | undefined) => {
		if (patterns === undefined) return;
		const expressions = patterns.map(namePattern);
		tests.push((unit) => {
			const text = name(unit);
			return text !== undefined && expressions.some((expression) => expression.test(text));
		});
	};
	named(match.node, ({ node }) => node);
	named(match.weight, ({ weight }) => weight);
	named(match.scope, ({ scope }) => scope);
	const { op, role, layers, shape } = match;
	if (op !== undefined) tests.push((unit) => op.includes(unit.op));
	if (role !== undefined) tests.push((unit) => unit.role !== undefined && role.includes(unit.role));
	if (layers !== undefined) {
		const test = parseLayers(layers);
		tests.push(({ layer }) => layer !== undefined && test?.(layer, layerCount) === true);
	}
	if (shape !== undefined) tests.push((unit) => unit.shape !== undefined && fitsShape(unit.shape, shape));
	return (unit) => tests.every((test) => test(unit));
}

/** `/expression/` is searched for anywhere in a name; anything else is a glob for the whole name. */
export function namePattern(pattern: string): RegExp {
	const expression = /^\/(.*)\/$/s.exec(pattern);
	return expression === null ? globPattern(pattern) : new RegExp(expression[1]!);
}

/** A condition on a length: `*`, a number, or a number behind `>=`, `<=`, `>` or `<`. */
export const LENGTH_PATTERN: RegExp = /^(?:\*|(>=|<=|>|<)?\s*(\d+))$/;

function fitsShape(shape: readonly number[], wanted: readonly (number | string)[]): boolean {
	return shape.length === wanted.length && shape.every((length, axis) => fitsLength(length, String(wanted[axis])));
}

function fitsLength(length: number, wanted: string): boolean {
	const [, relation, number] = LENGTH_PATTERN.exec(wanted) ?? [];
	if (number === undefined) return wanted === "*";
	const bound = Number(number);
	switch (relation) {
		case ">=":
			return length >= bound;
		case "<=":
			return length <= bound;
		case ">":
			return length > bound;
		case "<":
			return length < bound;
		default:
			return length === bound;
	}
}
