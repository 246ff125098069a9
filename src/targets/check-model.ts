import { inferTypes } from "../inference/index.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp } from "../ir/node.js";
import { nodeLabel } from "../ir/walk.js";
import { isView } from "../weights/activation.js";
import { isWithin } from "./capabilities.js";
import { KnownValues } from "./known-values.js";
import { type OperatorFacts, operatorFacts } from "./operator-facts.js";
import { providerOptionsFor } from "./provider-options.js";
import type { Consequence, Rule, RuleContext } from "./rule.js";
import { HTP_RULES } from "./rules/index.js";
import type { Target } from "./target.js";
import { typeSource } from "./type-source.js";

/** One place where a model breaks a rule of its target. */
export interface Finding {
	/** Id of the rule. */
	readonly rule: string;
	readonly consequence: Consequence;
	/** Path of the graph, as GraphSite.path. */
	readonly graph: string;
	readonly node: string;
	readonly op: string;
	/** Name of the weight, where the operator has one. */
	readonly weight?: string;
	/** What is at fault, with the values found. */
	readonly message: string;
	readonly remedy: string;
	/** The pass that applies the remedy; undefined where none does. */
	readonly appliedBy?: string;
}

/** A rule and the operator that breaks it. */
export interface BrokenRule {
	readonly rule: Rule;
	readonly operator: OperatorFacts;
	/** What is at fault, with the values found. */
	readonly message: string;
	readonly context: RuleContext;
}

/**
 * What the target would refuse, crash on, compute wrong or compute slowly, as far as the rules in src/targets/rules know.
 * Reads types, scales and zero points; codes only where a rule asks whether a channel is all zero.
 */
export async function checkModel(model: Model, target: Target): Promise<Finding[]> {
	return brokenRules(model, target).map(findingOf);
}

/** As {@link checkModel}, with what the rules looked at; only those rules that `isWanted`. */
export function brokenRules(
	model: Model,
	target: Target,
	isWanted: (rule: Rule) => boolean = () => true,
): BrokenRule[] {
	const types = typeSource(inferTypes(model));
	const operators = operatorFacts(model, types);
	const options = providerOptionsFor(operators, target);
	const context: RuleContext = {
		architecture: target.architecture,
		blockQuantOptimization: options.enable_block_quant_weight_optimization === "1",
		irVersion: model.irVersion,
		types,
		known: new KnownValues(model),
		analysis: analyses(model),
	};
	const rules = HTP_RULES.flatMap((group) => group.rules).filter(
		(rule) => isWithin(target.architecture, rule.since, rule.until) && isWanted(rule),
	);
	return operators.flatMap((operator) =>
		rules.flatMap((rule) => {
			const message = rule.broken(operator, context);
			return message === undefined ? [] : [{ rule, operator, message, context }];
		}),
	);
}

/** Analyses of `model`, each made when it is first asked for. */
function analyses(model: Model): RuleContext["analysis"] {
	const made = new Map<unknown, unknown>();
	return <T>(make: (model: Model) => T): T => {
		if (!made.has(make)) made.set(make, make(model));
		return made.get(make) as T;
	};
}

/** What helps where activations are float and the remedy of the rule needs their ranges. */
const QUANTIZE = "quantize the activations, which are float: `qgraph quantize` does, with samples of the inputs";

/** Does the operator compute on what no DequantizeLinear makes, views aside? */
function readsFloats({ inputs, weight }: OperatorFacts): boolean {
	let value = inputs[weight?.site.input === 0 ? 1 : 0]?.value;
	while (value?.producer !== undefined && isView(value.producer)) value = value.producer.inputs[0];
	return value?.producer === undefined || !isOnnxOp(value.producer, "DequantizeLinear");
}

function findingOf({ rule, operator, message }: BrokenRule): Finding {
	const { node, graphSite, weight } = operator;
	const { id, consequence } = rule;
	const isUnhelped = rule.needsEncodings === true && readsFloats(operator);
	const { remedy, appliedBy } = isUnhelped ? { remedy: QUANTIZE, appliedBy: undefined } : rule;
	return {
		rule: id,
		consequence,
		graph: graphSite.path,
		node: nodeLabel(node),
		op: node.op.type,
		...(weight === undefined ? {} : { weight: weight.name }),
		message,
		remedy,
		...(appliedBy === undefined ? {} : { appliedBy }),
	};
}
