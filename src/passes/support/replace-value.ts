import type { Model } from "../../ir/model.js";
import type { Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";

/**
 * Makes everything that reads `value`, graph outputs and subgraphs included, read `replacement` instead, which takes over
 * its name; `value` gets the name `formerName`. What computes `replacement` must not be among the readers, or must be
 * connected to `value` anew afterwards.
 */
export function replaceValue(model: Model, value: Value, replacement: Value, formerName: string): void {
	value.replaceUsesWith(replacement);
	if (value.isGraphOutput) {
		for (const { graph } of allGraphs(model)) {
			for (const [index, output] of graph.outputs.entries()) if (output === value) graph.setOutput(index, replacement);
		}
	}
	replacement.name = value.name;
	replacement.type ??= value.type;
	replacement.docString = value.docString;
	value.docString = "";
	for (const [key, text] of value.metadata) replacement.metadata.set(key, text);
	value.metadata.clear();
	value.name = formerName;
	if (value.graph.valueInfo.delete(value)) replacement.graph.valueInfo.add(replacement);
}
