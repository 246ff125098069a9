import { QGraphError } from "../diagnostics.js";
import { BLOCK_SIZES, type BlockSize, PRECISION_FACTS, type Precision } from "./precision.js";
import { type Match, type Recipe, type Rule, type Setting, settingOf } from "./recipe.js";
import type { Role } from "./role.js";

/*
 * ExecuTorch's recipes for Qualcomm (backends/qualcomm/quantizer/quant_recipe.py) as text: a class whose constructor makes
 * a QuantRecipe and calls add_node_target and add_regex. Only this form is understood, which its analyzer writes; the text
 * is never run.
 */

const DTYPES: Readonly<Record<string, Precision>> = {
	use_16a16w: "16a16w",
	use_16a8w: "16a8w",
	use_16a4w: "16a4w",
	use_16a4w_block: "16a4w_block",
	use_8a8w: "8a8w",
	use_8a4w: "8a4w",
};

/** Names of linear layers in ExecuTorch, where they are 1x1 convolutions. */
export const ROLE_PATTERNS: Partial<Record<Role, string>> = {
	q_proj: String.raw`attention\..*wq.*`,
	k_proj: String.raw`attention\..*wk.*`,
	v_proj: String.raw`attention\..*wv.*`,
	o_proj: String.raw`attention\..*wo.*`,
	gate_proj: String.raw`feed_forward\..*w1_conv`,
	down_proj: String.raw`feed_forward\..*w2_conv`,
	up_proj: String.raw`feed_forward\..*w3_conv`,
	lm_head: String.raw`output\.conv`,
	embedding: "tok_embeddings",
};

/**
 * Reads the text of an ExecuTorch recipe class.
 *
 * @throws QGraphError `recipe/invalid` for text that has no recipe in it, or a data type that qgraph has none for.
 */
export function readExecutorchRecipe(text: string, file: string): Recipe {
	const source = text.replace(/#.*$/gm, "");
	const name = /class\s+(\w+)/.exec(source)?.[1] ?? file.replace(/^.*[\\/]/, "").replace(/\.py$/, "");
	const calls = [...source.matchAll(/\b(QuantRecipe|add_node_target|add_regex)\s*\(/g)].map((match) => ({
		kind: match[1]!,
		line: source.slice(0, match.index).split("\n").length,
		arguments: argumentsAt(source, match.index + match[0].length),
	}));
	// a class may give the data type of its base a name
	const alias = /default_quant_dtype\s*=\s*(QuantDtype\.\w+)/.exec(source)?.[1] ?? "";
	const base = calls.find(({ kind }) => kind === "QuantRecipe");
	if (base === undefined) throw new QGraphError("recipe/invalid", `'${file}' has no QuantRecipe(...) in it`, { file });
	const settingAt = (call: (typeof calls)[number], dtypeIndex: number) =>
		settingIn(
			call.arguments.map((argument) => argument.replace("self.default_quant_dtype", alias)),
			dtypeIndex,
			file,
			call.line,
		);
	let standard = settingAt(base, 0);
	const rules: Rule[] = [];
	for (const call of calls) {
		if (call.kind === "QuantRecipe") continue;
		const setting = settingAt(call, 1);
		const names = [...(call.arguments[0] ?? "").matchAll(/r?(["'])((?:\\.|(?!\1).)*)\1|torch\.ops\.aten\.(\w+)/g)];
		if (call.kind === "add_node_target") {
			// every linear operator of ExecuTorch's language models is a convolution
			if (names.some(([, , , op]) => op === "conv2d")) standard = setting;
			continue;
		}
		const scope = names.map(([, , pattern]) => `/${pattern}/`);
		rules.push({
			match: { scope },
			setting,
			priority: priorityIn(call.arguments),
			reason: noteIn(call.arguments),
			line: call.line,
		});
	}
	return { name, description: `read from ${file}`, default: standard, rules };
}

/** The arguments of a call, split at the commas of its own level; `start` is behind its parenthesis. */
function argumentsAt(source: string, start: number): string[] {
	const found: string[] = [];
	let depth = 0;
	let quote = "";
	let begin = start;
	for (let at = start; at < source.length; at++) {
		const char = source[at]!;
		if (quote !== "") {
			if (char === "\\") at++;
			else if (char === quote) quote = "";
		} else if (char === '"' || char === "'") quote = char;
		else if ("([{".includes(char)) depth++;
		else if (")]}".includes(char)) {
			if (depth-- === 0) return [...found, source.slice(begin, at).trim()].filter(Boolean);
		} else if (char === "," && depth === 0) {
			found.push(source.slice(begin, at).trim());
			begin = at + 1;
		}
	}
	return found;
}

function settingIn(found: readonly string[], dtypeIndex: number, file: string, line: number): Setting {
	const dtype = /QuantDtype\.(\w+)/.exec(named(found, "(?:default_|quant_)?dtype") ?? found[dtypeIndex] ?? "")?.[1];
	const precision = dtype === undefined ? undefined : DTYPES[dtype];
	if (precision === undefined) {
		const known = Object.keys(DTYPES).join(", ");
		throw new QGraphError("recipe/invalid", `'${file}', line ${line}: data type '${dtype}' is none of ${known}`, {
			file,
		});
	}
	const all = found.join(",");
	const perTensor = /QuantGranularity\.PER_TENSOR/.test(all) && !PRECISION_FACTS[precision].isBlock;
	const numbers = /block_size["']?\s*[:=]\s*\(([\d,\s]+)\)/.exec(all)?.[1]?.split(",").map(Number) ?? [];
	const blockSize = BLOCK_SIZES.find((size) => numbers.includes(size)) as BlockSize | undefined;
	return settingOf(precision, {
		...(blockSize === undefined ? {} : { blockSize }),
		...(perTensor ? { granularity: "per-tensor" } : {}),
	});
}

function named(found: readonly string[], name: string): string | undefined {
	const pattern = new RegExp(`^${name}\\s*=\\s*(.*)$`, "s");
	return found.map((argument) => pattern.exec(argument)?.[1]).find((value) => value !== undefined);
}

function priorityIn(found: readonly string[]): number {
	return Number(named(found, "priority") ?? 1);
}

function noteIn(found: readonly string[]): string | undefined {
	return named(found, "note")?.replace(/^r?["']|["']$/g, "");
}

/** The text of a recipe class that ExecuTorch's Qualcomm examples take; rules it has no words for become comments. */
export function writeExecutorchRecipe(recipe: Recipe): string {
	return writeExecutorchRecipes([
		{ className: `${pascalCase(recipe.name)}QuantRecipe`, recipe, tagOf: () => undefined },
	]);
}

/** A recipe class, and what to say in a comment in front of each of its rules. */
export interface ExecutorchClass {
	readonly className: string;
	readonly recipe: Recipe;
	readonly tagOf: (rule: Rule) => string | undefined;
}

/** The same for several classes in one file. */
export function writeExecutorchRecipes(classes: readonly ExecutorchClass[]): string {
	const lines = [
		"import torch",
		"from executorch.backends.qualcomm.quantizer.quant_recipe import QuantGranularity, QuantRecipe",
		"from executorch.backends.qualcomm.quantizer.quantizer import QuantDtype",
		"from executorch.examples.qualcomm.oss_scripts.llama.static_llm_quant_recipe import StaticLLMQuantRecipe",
		"from torchao.quantization.pt2e import MinMaxObserver",
		...classes.flatMap((one) => ["", "", ...classLines(one)]),
	];
	return `${lines.join("\n")}\n`;
}

/** `my-model` -> `MyModel`. */
function pascalCase(name: string): string {
	return name.replace(/(?:^|[^a-zA-Z0-9]+)([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function classLines({ className, recipe, tagOf }: ExecutorchClass): string[] {
	const lines = [
		`class ${className}(StaticLLMQuantRecipe):`,
		"    default_quant_dtype = QuantDtype.use_16a4w",
		"",
		"    def __init__(self, verbose: bool = False):",
		"        super().__init__()",
		"        self.recipe = (",
		"            QuantRecipe(",
		"                self.default_quant_dtype,",
		"                False,",
		"                act_observer=MinMaxObserver,",
		"                granularity=QuantGranularity.PER_TENSOR,",
		"                verbose=verbose,",
		"            )",
		...call("add_node_target", "{torch.ops.aten.conv2d.default}", recipe.default, undefined, 1),
	];
	const untold: string[] = [];
	for (const rule of recipe.rules) {
		const patterns = patternsOf(rule.match);
		const isTold = patterns !== undefined && PRECISION_FACTS[rule.setting.precision].activationBits !== undefined;
		if (!isTold)
			untold.push(`        # no equal in ExecuTorch: ${JSON.stringify(rule.match)} -> ${rule.setting.precision}`);
		else {
			const set = `{${patterns.map((pattern) => `r"${pattern}"`).join(", ")}}`;
			const tag = tagOf(rule);
			if (tag !== undefined) lines.push(`            # ${tag}`);
			lines.push(...call("add_regex", set, rule.setting, rule.reason, Math.max(1, rule.priority)));
		}
	}
	return [...lines, "        )", ...untold];
}

function call(method: string, target: string, setting: Setting, note: string | undefined, priority: number): string[] {
	const { precision, blockSize, granularity } = setting;
	const { isBlock } = PRECISION_FACTS[precision];
	const scope = isBlock ? "PER_BLOCK" : granularity === "per-tensor" ? "PER_TENSOR" : "PER_CHANNEL";
	return [
		`            .${method}(`,
		`                ${target},`,
		`                QuantDtype.use_${precision},`,
		"                False,",
		"                act_observer=MinMaxObserver,",
		`                granularity=QuantGranularity.${scope},`,
		...(isBlock ? [`                extra_kwargs={"block_size": (1, ${blockSize}, 1, 1)},`] : []),
		...(note === undefined ? [] : [`                note=${JSON.stringify(note)},`]),
		...(priority === 1 ? [] : [`                priority=${priority},`]),
		"            )",
	];
}

/** Expressions for module paths of ExecuTorch; undefined where the rule asks for something that has none. */
function patternsOf({ role, layers, scope, weight, node, op, shape }: Match): string[] | undefined {
	if (weight !== undefined || node !== undefined || op !== undefined || shape !== undefined) return undefined;
	const layer = layers === undefined ? "" : layerPattern(layers);
	if (layer === undefined) return undefined;
	if (scope !== undefined) {
		if (role !== undefined || layers !== undefined) return undefined;
		return scope.map((pattern) => /^\/(.*)\/$/s.exec(pattern)?.[1] ?? globSource(pattern));
	}
	const patterns = (role ?? []).map((name) => ROLE_PATTERNS[name]);
	if (patterns.length === 0 || patterns.includes(undefined)) return undefined;
	return patterns.map((pattern) => layer + pattern);
}

/** `layers\.(?:0|1|2)\.`; undefined for layers counted from the end, of which the text knows no number. */
function layerPattern(layers: string): string | undefined {
	const numbers: number[] = [];
	for (const part of layers.split(",")) {
		const match = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(part);
		if (match === null) return undefined;
		for (let layer = Number(match[1]); layer <= Number(match[2] ?? match[1]); layer++) numbers.push(layer);
	}
	return String.raw`layers\.(?:${numbers.join("|")})\.`;
}

function globSource(glob: string): string {
	return glob
		.replace(/[.+^${}()|[\]\\]/g, "\\$&")
		.replaceAll("*", ".*")
		.replaceAll("?", ".");
}
