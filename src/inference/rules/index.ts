import { isStandardDomain, type OpId } from "../../ir/node.js";
import type { Rule, RuleTable } from "../operator-call.js";
import { ATTENTION_RULES } from "./attention.js";
import { CONTRIB_RULES } from "./contrib.js";
import { CONVOLUTION_RULES } from "./convolution.js";
import { ELEMENTWISE_RULES } from "./elementwise.js";
import { GATHER_RULES } from "./gather.js";
import { GENERATE_RULES } from "./generate.js";
import { LINEAR_RULES } from "./linear.js";
import { NORMALIZATION_RULES } from "./normalization.js";
import { QUANTIZE_RULES } from "./quantize.js";
import { REDUCE_RULES } from "./reduce.js";
import { SEQUENCE_RULES } from "./sequence.js";
import { SHAPE_RULES } from "./shape.js";

export const STANDARD_RULES: ReadonlyMap<string, Rule> = tableOf(
	ELEMENTWISE_RULES,
	SHAPE_RULES,
	GATHER_RULES,
	LINEAR_RULES,
	REDUCE_RULES,
	CONVOLUTION_RULES,
	NORMALIZATION_RULES,
	ATTENTION_RULES,
	QUANTIZE_RULES,
	GENERATE_RULES,
	SEQUENCE_RULES,
	// ONNX Runtime writes these into the standard domain.
	onlyOf(CONTRIB_RULES, "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"),
);

/** com.microsoft repeats some standard operators for more types, with the same shapes. */
const MICROSOFT = tableOf(QUANTIZE_RULES, CONTRIB_RULES);

function tableOf(...tables: readonly RuleTable[]): ReadonlyMap<string, Rule> {
	return new Map(tables.flatMap((table) => Object.entries(table)));
}

function onlyOf(table: RuleTable, ...names: readonly string[]): RuleTable {
	return Object.fromEntries(names.map((name) => [name, table[name]!]));
}

/** The rule for an operator; undefined for one that is not known here. */
export function ruleOf({ domain, type }: OpId): Rule | undefined {
	if (isStandardDomain(domain)) return STANDARD_RULES.get(type);
	return domain === "com.microsoft" ? MICROSOFT.get(type) : undefined;
}
