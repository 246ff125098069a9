/*
 * Shows how every weight of a model is quantized and whether it could become LPBQ. No weight is read for that.
 *
 *   npm run build:examples && node .cache/examples/03-inspect-weights.js demo.onnx
 */
import { allNodes, annotateBlockQuant, nodeLabel, readModel, runPasses, weightAnnotation } from "qgraph";

const [input = "demo.onnx"] = process.argv.slice(2);

const model = await readModel(input);
await runPasses(model, [annotateBlockQuant()]);

for (const { node } of allNodes(model)) {
	const weight = weightAnnotation(node);
	if (weight === undefined) continue;
	const blocks = weight.scheme === "block" ? ` of ${weight.blockSize} along axis ${weight.blockAxis}` : "";
	console.log(`${nodeLabel(node)}: ${node.op.type} with ${weight.dtype}[${weight.shape.join(",")}] '${weight.weight}'`);
	console.log(`  ${weight.scheme}${blocks}, ${weight.activations} activations; LPBQ: ${weight.lpbq}`);
}
