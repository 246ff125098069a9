import { tmpdir } from "node:os";
import yargs from "yargs";
import { hideBin } from "yargs/helpers";

export const PARTS = ["bq", "float", "nbits", "recipe", "sensitivity", "llm"] as const;

const SUMMARY = `$0 [flags]

Time and memory of conversions of a big model, against 'cp' and Python's onnx and
onnx-ir; of unpacking MatMulNBits, against Olive; of making float weights LPBQ and
of the sensitivity of layers, against AIMET; of converting a language model. QGRAPH_PYTHON names the Python that
has these.`;

/** What the command line asks for; ends the program where it asks for help or is wrong. */
export const flags = yargs(hideBin(process.argv))
	.scriptName("npm run bench --")
	.usage(SUMMARY)
	.options({
		form: { choices: PARTS, default: "bq", describe: "what is measured; bq is all but float and llm" },
		layers: { type: "number", default: 64, describe: "layers of the big model" },
		rounds: { type: "number", default: 5, describe: "runs of each, of which the median counts" },
		"search-layers": { type: "number", default: 4, describe: "layers that the search for scales is measured with" },
		"nbits-layers": { type: "number", default: 16, describe: "layers of MatMulNBits" },
		folder: { type: "string", default: tmpdir(), describe: "where models are made" },
		calibrate: {
			type: "string",
			array: true,
			default: [] as string[],
			describe: "models: measures only what calibrating them takes, against plain inference",
		},
		dim: { type: "string", array: true, default: [] as string[], describe: "their dimensions, as batch=1" },
		samples: { type: "number", default: 128, describe: "samples that they are calibrated with" },
	})
	.strict()
	.version(false)
	.parseSync();
