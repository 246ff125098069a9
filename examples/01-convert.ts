/*
 * Reads a model, converts its int4 block-quantized weights to LPBQ, says what became of each weight, writes the result.
 *
 *   npm run build:examples && node .cache/examples/01-convert.js demo.onnx converted.onnx
 */
import { annotateBlockQuant, bqToLpbq, readModel, runPasses, writeModel } from "qgraph";

const [input = "demo.onnx", output = "converted.onnx"] = process.argv.slice(2);

const model = await readModel(input);
const { weights } = await runPasses(model, [annotateBlockQuant(), bqToLpbq({ fit: "search" })]);

for (const { weight, node, status, code, message, sqnrDb } of weights) {
	if (status === "kept") console.log(`kept      ${weight} of ${node}: ${message} [${code}]`);
	else console.log(`converted ${weight} of ${node}: ${sqnrDb == null ? "exact" : `${sqnrDb.toFixed(1)} dB`}`);
}

await writeModel(model, output);
console.log(`wrote ${output}`);
