import type { LineCounter, Node, Scalar, YAMLMap, YAMLSeq } from "yaml";
import { QGraphError } from "../diagnostics.js";
import { LENGTH_PATTERN, namePattern } from "./decide.js";
import { parseLayers } from "./layers.js";
import { BLOCK_SCALES, BLOCK_SIZES, GRANULARITIES, PRECISION_FACTS, PRECISIONS } from "./precision.js";
import { type Match, type Recipe, type Rule, type Setting, settingOf } from "./recipe.js";
import { ROLES } from "./role.js";
import { suggestion } from "./suggestion.js";
import { yaml } from "./yaml.js";

const RECIPE_KEYS = ["$schema", "name", "description", "default", "rules"];
const SETTING_KEYS = ["precision", "blockSize", "blockScales", "granularity"];
const RULE_KEYS = [...SETTING_KEYS, "match", "priority", "reason"];
const MATCH_KEYS = ["node", "weight", "scope", "op", "role", "layers", "shape"];
export const OPERATORS = ["MatMul", "Gemm", "Conv", "ConvTranspose", "Gather"] as const;

/**
 * Reads a recipe, YAML or JSON.
 *
 * @param file what errors call it.
 * @throws QGraphError `recipe/invalid`, with the line, what was found, and what was expected.
 */
export function parseRecipe(text: string, file: string): Recipe {
	return new RecipeReader(text, file).read();
}

class RecipeReader {
	readonly #file: string;
	readonly #lines: LineCounter;
	readonly #root: Node | null;

	constructor(text: string, file: string) {
		this.#file = file;
		const { LineCounter, parseDocument } = yaml();
		this.#lines = new LineCounter();
		const document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
		this.#root = document.contents;
		const [error] = document.errors;
		if (error !== undefined) this.#fail(error.pos[0], `it is not YAML: ${error.message}`);
	}

	read(): Recipe {
		const root = this.#root;
		if (!isMap(root)) this.#fail(root, `expected the keys ${RECIPE_KEYS.slice(1).join(", ")}`);
		const fields = this.#fields(root, RECIPE_KEYS, "a recipe");
		const standard = fields.get("default");
		if (standard === undefined) this.#fail(root, "it has no 'default'; expected such as { precision: 16a4w_block }");
		if (!isMap(standard)) this.#fail(standard, "'default' must be a map such as { precision: 16a4w_block }");
		const setting = this.#setting(standard, this.#fields(standard, SETTING_KEYS, "'default'"), {});
		const rules = fields.get("rules");
		if (rules !== undefined && !isSeq(rules)) this.#fail(rules, "'rules' must be a list");
		return {
			name: this.#text(fields, "name") ?? this.#file.replace(/^.*[\\/]/, "").replace(/\.\w+$/, ""),
			description: this.#text(fields, "description"),
			default: setting,
			// rules take over the block size of the default
			rules: (rules?.items ?? []).map((item) => this.#rule(item as Node, { blockSize: setting.blockSize })),
		};
	}

	#rule(node: Node, inherited: Partial<Setting>): Rule {
		if (!isMap(node)) this.#fail(node, "a rule must be a map with 'match' and 'precision'");
		const fields = this.#fields(node, RULE_KEYS, "a rule");
		const match = fields.get("match");
		if (!isMap(match)) this.#fail(match ?? node, "a rule needs a 'match', such as { role: lm_head }");
		const priority = this.#scalar(fields, "priority") ?? 0;
		if (!Number.isInteger(priority))
			this.#fail(fields.get("priority"), `'priority' is ${show(priority)}, not a whole number`);
		return {
			match: this.#match(match),
			setting: this.#setting(node, fields, inherited),
			priority: priority as number,
			reason: this.#text(fields, "reason"),
			line: this.#lineOf(node),
		};
	}

	#setting(node: Node, fields: Map<string, Node>, inherited: Partial<Setting>): Setting {
		const precision = this.#oneOf(fields, "precision", PRECISIONS);
		if (precision === undefined) this.#fail(node, `there is no 'precision'; expected one of ${PRECISIONS.join(", ")}`);
		const facts = PRECISION_FACTS[precision];
		const more: { -readonly [K in keyof Setting]?: Setting[K] } = { ...inherited };
		for (const key of ["blockSize", "blockScales"]) {
			if (fields.has(key) && !facts.isBlock) {
				this.#fail(fields.get(key), `'${key}' goes with 16a4w_block, not with ${precision}; remove it`);
			}
		}
		if (fields.has("granularity") && (facts.isBlock || facts.isFloat || facts.weightBits === undefined)) {
			this.#fail(fields.get("granularity"), `'granularity' does not go with ${precision}; remove it`);
		}
		const blockSize = this.#oneOf(fields, "blockSize", BLOCK_SIZES);
		const blockScales = this.#oneOf(fields, "blockScales", BLOCK_SCALES);
		const granularity = this.#oneOf(fields, "granularity", GRANULARITIES);
		if (blockSize !== undefined) more.blockSize = blockSize;
		if (blockScales !== undefined) more.blockScales = blockScales;
		if (granularity !== undefined) more.granularity = granularity;
		return settingOf(precision, more);
	}

	#match(node: YAMLMap): Match {
		const fields = this.#fields(node, MATCH_KEYS, "'match'");
		if (fields.size === 0) this.#fail(node, `'match' is empty; expected one or more of ${MATCH_KEYS.join(", ")}`);
		const match: { -readonly [K in keyof Match]: Match[K] } = {};
		for (const key of ["node", "weight", "scope"] as const) {
			const patterns = this.#list(fields, key);
			if (patterns === undefined) continue;
			match[key] = patterns.map(({ value, node: at }) => {
				if (typeof value !== "string") this.#fail(at, `'${key}' is ${show(value)}, not a name pattern`);
				try {
					namePattern(value);
				} catch (error) {
					this.#fail(at, `'${value}' is no regular expression: ${error instanceof Error ? error.message : error}`);
				}
				return value;
			});
		}
		const choose = <T extends string>(key: string, choices: readonly T[]) =>
			this.#list(fields, key)?.map(({ value, node: at }) => this.#choice(key, value, choices, at));
		const [op, role] = [choose("op", OPERATORS), choose("role", ROLES)];
		if (op !== undefined) match.op = op;
		if (role !== undefined) match.role = role;
		const layers = this.#scalar(fields, "layers");
		if (layers !== undefined) {
			if (parseLayers(String(layers)) === undefined) {
				this.#fail(fields.get("layers"), `'layers' is ${show(layers)}; expected such as 0-3, 7, last or -2`);
			}
			match.layers = String(layers);
		}
		const shape = this.#list(fields, "shape");
		if (shape !== undefined) {
			match.shape = shape.map(({ value, node: at }) => this.#length(value, at));
		}
		return match;
	}

	#length(value: unknown, at: Node): number | string {
		if ((typeof value === "string" || typeof value === "number") && LENGTH_PATTERN.test(String(value))) return value;
		return this.#fail(at, `a length in 'shape' is ${show(value)}; expected a number, '*' or a bound such as '>=4096'`);
	}

	#fields(node: YAMLMap, known: readonly string[], what: string): Map<string, Node> {
		const fields = new Map<string, Node>();
		for (const { key, value } of node.items) {
			const name = isScalar(key) ? String(key.value) : String(key);
			if (!known.includes(name)) {
				this.#fail(key as Node, `${what} has no key '${name}'${suggestion(name, known)}; it has ${known.join(", ")}`);
			}
			if (value !== null) fields.set(name, value as Node);
		}
		return fields;
	}

	#scalar(fields: Map<string, Node>, key: string): unknown {
		const node = fields.get(key);
		if (node === undefined) return undefined;
		if (!isScalar(node)) this.#fail(node, `'${key}' must be a single value`);
		return node.value;
	}

	#text(fields: Map<string, Node>, key: string): string | undefined {
		const value = this.#scalar(fields, key);
		return value === undefined ? undefined : String(value);
	}

	#oneOf<T extends string | number>(fields: Map<string, Node>, key: string, choices: readonly T[]): T | undefined {
		const value = this.#scalar(fields, key);
		return value === undefined ? undefined : this.#choice(key, value, choices, fields.get(key)!);
	}

	#choice<T extends string | number>(key: string, value: unknown, choices: readonly T[], at: Node): T {
		const found = choices.find((choice) => choice === value);
		if (found !== undefined) return found;
		const hint = typeof value === "string" ? suggestion(value, choices.map(String)) : "";
		return this.#fail(at, `'${key}' is ${show(value)}${hint}; expected one of ${choices.join(", ")}`);
	}

	/** One value or a list of values. */
	#list(fields: Map<string, Node>, key: string): { value: unknown; node: Node }[] | undefined {
		const node = fields.get(key);
		if (node === undefined) return undefined;
		const items = isSeq(node) ? (node.items as Node[]) : [node];
		if (items.length === 0) this.#fail(node, `'${key}' is an empty list`);
		return items.map((item) => {
			if (!isScalar(item)) this.#fail(item, `'${key}' must be a value or a list of values`);
			return { value: item.value, node: item };
		});
	}

	#lineOf(node: Node | null | undefined): number {
		return this.#lines.linePos(node?.range?.[0] ?? 0).line || 1;
	}

	#fail(at: Node | number | null | undefined, message: string): never {
		const line = typeof at === "number" ? this.#lines.linePos(at).line : this.#lineOf(at);
		throw new QGraphError("recipe/invalid", `recipe '${this.#file}', line ${line}: ${message}`, { file: this.#file });
	}
}

function show(value: unknown): string {
	return typeof value === "string" ? `'${value}'` : JSON.stringify(value);
}

function isMap(node: unknown): node is YAMLMap {
	return yaml().isMap(node);
}

function isSeq(node: unknown): node is YAMLSeq {
	return yaml().isSeq(node);
}

function isScalar(node: unknown): node is Scalar {
	return yaml().isScalar(node);
}
