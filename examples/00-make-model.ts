/*
 * Makes a small int4 block-quantized model for the other examples (demo-model.ts shows what is in it).
 *
 *   npm run build:examples && node .cache/examples/00-make-model.js demo.onnx
 */
import { writeModel } from "qgraph";
import { demoModel } from "./demo-model.js";

const [output = "demo.onnx"] = process.argv.slice(2);
await writeModel(demoModel(), output);
console.log(`made ${output}`);
