/*
 * A pass of your own: one definition gives it a name, options that are checked, and a place in any pipeline.
 *
 *   npm run build:examples && node .cache/examples/02-custom-pass.js demo.onnx renamed.onnx
 */
import { allGraphs, definePass, NameScope, readModel, runPasses, writeModel } from "qgraph";

interface PrefixWeightsOptions {
	readonly prefix: string;
	/** Elements that a constant must have to count as a weight. */
	readonly atLeast: number;
}

/** `W` -> `model.W` for every constant of the model. A name that callers use is not the pass's to change. */
const prefixWeights = definePass<PrefixWeightsOptions>({
	name: "prefix-weights",
	summary: "Put a prefix in front of the names of weights.",
	options: {
		prefix: { default: "model.", describe: "what to put in front" },
		atLeast: { default: 1, describe: "leave constants of fewer elements alone" },
	},
	run(model, context) {
		const { prefix, atLeast } = context.options;
		const names = new NameScope(model);
		let changed = false;
		for (const { graph, path } of allGraphs(model)) {
			for (const value of graph.initializers) {
				const size = value.initializer!.shape.reduce((product, dim) => product * dim, 1);
				if (value.name.startsWith(prefix) || size < atLeast) continue;
				if (value.isGraphInput) {
					context.report("pass/note", `'${value.name}' is an input too, so that its name is not free`, {
						graph: path,
						value: value.name,
					});
					continue;
				}
				value.name = names.fresh(prefix + value.name);
				context.count("weights renamed");
				changed = true;
			}
		}
		return changed;
	},
});

const [input = "demo.onnx", output = "renamed.onnx"] = process.argv.slice(2);

const model = await readModel(input);
const { passes, diagnostics } = await runPasses(model, [prefixWeights({ prefix: "demo.", atLeast: 2 })]);
for (const { name, stats } of passes) console.log(name, stats);
for (const { severity, code, message } of diagnostics) console.log(`${severity} ${code}: ${message}`);
await writeModel(model, output);
