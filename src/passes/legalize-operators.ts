import { NameScope } from "../ir/names.js";
import { nodeLabel } from "../ir/walk.js";
import { sqnrDb } from "../quant/measure.js";
import { type BrokenRule, brokenRules } from "../targets/check-model.js";
import { definePass } from "./infra/pass.js";
import { OPERATOR_REMEDIES } from "./support/operator-remedies.js";
import { reportSeparation } from "./support/separation-report.js";

/** A remedy may uncover another fault of the same operator, such as a type behind an output that was not quantized. */
const ROUNDS = 4;

/**
 * Operators that break a rule of the target for which there is a remedy (support/operator-remedies.ts) -> the same that keep
 * it: outputs and types quantized as kernels on integers want it, encodings that the compiler takes for granted, scales and
 * zero points written out, shapes that it computes wrong or refuses reshaped, saturation as an operator.
 */
export const legalizeOperators = definePass<Record<never, never>>({
	name: "legalize-operators",
	summary: "Quantize, encode and reshape around operators as the target's rules want it.",
	options: {},
	run(model, context) {
		const { target } = context;
		if (target === undefined) {
			const message = "operators stay as they are: no target was named, expected one such as 'qnn-htp:v79'";
			context.report("target/missing", message, {});
			return false;
		}
		const names = new NameScope(model);
		let kept: BrokenRule[] = [];
		let changed = false;
		for (let round = 0; round < ROUNDS; round++) {
			const broken = brokenRules(model, target, ({ id }) => OPERATOR_REMEDIES.has(id));
			const changedNodes = new Set<BrokenRule["operator"]["node"]>();
			kept = [];
			for (const fault of broken) {
				const { rule, operator, context: found } = fault;
				if (changedNodes.has(operator.node)) continue;
				const isDone = OPERATOR_REMEDIES.get(rule.id)!(operator, {
					model,
					names,
					architecture: found.architecture,
					types: found.types,
					report: ({ weight }, separation) => reportSeparation(context, weight!.site, separation),
					reportLoss: ({ weight, node, graphSite }, step, { signal, error }) => {
						const loss = `at ${sqnrDb(signal, error).toFixed(1)} dB`;
						context.report("weight/legal-at-a-loss", `weight '${weight!.name}' was made legal ${loss}: ${step}`, {
							graph: graphSite.path,
							node: nodeLabel(node),
							value: weight!.name,
						});
					},
				});
				if (isDone) {
					context.count(rule.id);
					changedNodes.add(operator.node);
				} else kept.push(fault);
			}
			if (changedNodes.size === 0) break;
			changed = true;
		}
		for (const { rule, operator, message } of kept) {
			const text = `'${nodeLabel(operator.node)}' stays as it is, though ${message}: ${rule.remedy}`;
			context.report("operator/kept", text, { graph: operator.graphSite.path, node: nodeLabel(operator.node) });
		}
		return changed;
	},
});
