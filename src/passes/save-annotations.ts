import { allNodes } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { isAnnotationKey } from "./support/annotation.js";

/**
 * Node annotations -> `metadata_props` of the node, so that they are in the file. Runtimes ignore them; `metadata_props`
 * of nodes exists from IR version 10 on, to which the model is raised.
 */
export const saveAnnotations = definePass<Record<never, never>>({
	name: "save-annotations",
	summary: "Write the annotations of nodes into the file as metadata_props.",
	options: {},
	run(model, context) {
		let changed = false;
		for (const { node } of allNodes(model)) {
			for (const [key, value] of node.annotations) {
				if (!isAnnotationKey(key) || node.metadata.get(key) === value) continue;
				node.metadata.set(key, value);
				context.count("entries saved");
				changed = true;
			}
		}
		if (changed) model.irVersion = Math.max(model.irVersion, 10);
		return changed;
	},
});
