import { QGraphError } from "../diagnostics.js";
import { onnxOpset } from "../ir/model.js";
import { definePass } from "./infra/pass.js";
import { NEWEST_OPSET } from "./support/opset/history.js";
import { raiseOpset } from "./support/opset/raise-opset.js";

/** The oldest operator set to raise models to: new nodes are written in the form that they have from there on. */
const OLDEST_TARGET = 13;

export interface UpgradeOpsetOptions {
	readonly to: number;
}

/**
 * `Squeeze(x) {axes=[1]}` -> `Squeeze(x, axes)`: raises the version of the standard operators that the model and its
 * functions import, and the IR version with it, and converts every node whose operator changed its meaning or signature
 * in between. All nodes are tried before the first is changed: where one cannot be converted the model stays as it is.
 */
export const upgradeOpset = definePass<UpgradeOpsetOptions>({
	name: "upgrade-opset",
	summary: "Raise the version of the standard operators and convert the nodes that it changes.",
	options: { to: { default: 21, describe: `operator set version to raise to, ${OLDEST_TARGET} to ${NEWEST_OPSET}` } },
	requires(_model, { options: { to } }) {
		if (Number.isInteger(to) && to >= OLDEST_TARGET && to <= NEWEST_OPSET) return;
		throw new QGraphError(
			"pass/unknown-option",
			`option 'to' of pass 'upgrade-opset' is ${to}, expected an integer from ${OLDEST_TARGET} to ${NEWEST_OPSET}`,
		);
	},
	run(model, context) {
		const { to } = context.options;
		const isRaised = [model, ...model.functions].every((scope) => (onnxOpset(scope) ?? to) >= to);
		const result = raiseOpset(model, to);
		if ("obstacles" in result) {
			for (const { message, at } of result.obstacles) context.report("opset/unconvertible", message, at);
			return false;
		}
		for (const type of result.converted) context.count(`${type} converted`);
		if (!isRaised) return true;
		const has = onnxOpset(model);
		const state = has === undefined ? "imports no standard operators" : `has operator set ${has} already`;
		context.report("opset/current", `the model ${state}; nothing to raise to ${to}`, {});
		return false;
	},
});
