import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";

/** What a genai_config.json of ONNX Runtime GenAI says of a decoder. */
export interface GenaiConfig {
	/** The whole file, for what goes on into the new one. */
	readonly content: JsonObject;
	readonly modelFile: string;
	readonly contextLength: number;
	readonly vocabularySize: number;
	readonly padToken: number;
	/** One or several. */
	readonly endTokens: readonly number[];
	readonly layers: number;
	readonly heads: number;
	readonly keyHeads: number;
	readonly headSize: number;
	readonly hiddenSize: number;
	readonly inputs: {
		readonly ids: string;
		readonly mask: string;
		readonly positions: string;
		readonly pastKeys: string;
		readonly pastValues: string;
	};
	readonly outputs: { readonly logits: string; readonly presentKeys: string; readonly presentValues: string };
}

export type JsonObject = Readonly<Record<string, unknown>>;

export const GENAI_CONFIG_FILE = "genai_config.json";

/** Parts of a config that stand for models which are not a single decoder. */
const OTHER_PARTS = ["encoder", "vision", "speech", "audio", "embedding"];

const PART_REMEDY =
	"give a directory with the text decoder alone, and make the other models ready with 'qgraph quantize' or 'qgraph convert'";

/**
 * Reads the config of a directory that ONNX Runtime GenAI's model builder wrote. Throws `llm/config` where there is none or
 * it says nothing of a single decoder, `llm/unsupported` for encoder-decoders, pipelines and models of several kinds.
 */
export function readGenaiConfig(folder: string): GenaiConfig {
	const file = path.join(folder, GENAI_CONFIG_FILE);
	if (!existsSync(file)) {
		const message = `'${folder}' has no ${GENAI_CONFIG_FILE}, expected a directory that the model builder of ONNX Runtime GenAI wrote`;
		throw new QGraphError("llm/config", message, { file });
	}
	const reader = new ConfigReader(file, parse(file));
	const model = reader.object(reader.content, "model");
	const part = OTHER_PARTS.find((name) => model[name] !== undefined);
	if (part !== undefined)
		throw unsupported(file, `the model has the part '${part}', expected a decoder alone; ${PART_REMEDY}`);
	const decoder = reader.object(model, "model.decoder");
	if (decoder.pipeline !== undefined)
		throw unsupported(
			file,
			"the decoder is a pipeline already, expected one dynamic model; give the directory that it was made of",
		);
	const [inputs, outputs] = [
		reader.object(decoder, "model.decoder.inputs"),
		reader.object(decoder, "model.decoder.outputs"),
	];
	if (inputs.input_ids === undefined && inputs.inputs_embeds !== undefined)
		throw unsupported(
			file,
			"the model has no table of embeddings (exclude_embeds), expected one that takes token ids; build it without that option",
		);
	if (outputs.logits === undefined)
		throw unsupported(
			file,
			"the model has no head (exclude_lm_head), expected one that gives logits; build it without that option",
		);
	const end = model.eos_token_id;
	return {
		content: reader.content,
		modelFile: path.join(folder, reader.text(decoder, "model.decoder.filename")),
		contextLength: reader.number(model, "model.context_length"),
		vocabularySize: reader.number(model, "model.vocab_size"),
		padToken: reader.number(model, "model.pad_token_id"),
		endTokens: Array.isArray(end)
			? end.filter((id) => typeof id === "number")
			: [reader.number(model, "model.eos_token_id")],
		layers: reader.number(decoder, "model.decoder.num_hidden_layers"),
		heads: reader.number(decoder, "model.decoder.num_attention_heads"),
		keyHeads: reader.number(decoder, "model.decoder.num_key_value_heads"),
		headSize: reader.number(decoder, "model.decoder.head_size"),
		hiddenSize: reader.number(decoder, "model.decoder.hidden_size"),
		inputs: {
			ids: reader.text(inputs, "model.decoder.inputs.input_ids"),
			mask: reader.textOr(inputs, "model.decoder.inputs.attention_mask", "attention_mask"),
			positions: reader.textOr(inputs, "model.decoder.inputs.position_ids", "position_ids"),
			pastKeys: reader.text(inputs, "model.decoder.inputs.past_key_names"),
			pastValues: reader.text(inputs, "model.decoder.inputs.past_value_names"),
		},
		outputs: {
			logits: reader.text(outputs, "model.decoder.outputs.logits"),
			presentKeys: reader.text(outputs, "model.decoder.outputs.present_key_names"),
			presentValues: reader.text(outputs, "model.decoder.outputs.present_value_names"),
		},
	};
}

/** The name of one layer's tensor: `past_key_values.%d.key` -> `past_key_values.3.key`. */
export function layerName(pattern: string, layer: number): string {
	return pattern.replace("%d", String(layer));
}

/** Is it the name of a past of keys or values? */
export function isPast(name: string, { inputs }: Pick<GenaiConfig, "inputs">): boolean {
	return [inputs.pastKeys, inputs.pastValues].some((pattern) => {
		const [start = "", end = ""] = pattern.split("%d");
		return name.startsWith(start) && name.endsWith(end);
	});
}

function parse(file: string): JsonObject {
	try {
		const content: unknown = JSON.parse(readFileSync(file, "utf8"));
		if (isObject(content)) return content;
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("llm/config", `cannot read '${file}': ${reason}`, { file }, { cause: error });
	}
	throw new QGraphError("llm/config", `'${file}' holds no JSON object`, { file });
}

class ConfigReader {
	readonly content: JsonObject;
	readonly #file: string;

	constructor(file: string, content: JsonObject) {
		this.#file = file;
		this.content = content;
	}

	/** The field that `place`, a path with dots, ends in; `from` is the object around it. */
	object(from: JsonObject, place: string): JsonObject {
		const value = from[lastOf(place)];
		return isObject(value) ? value : this.#fail(place, value, "an object");
	}

	number(from: JsonObject, place: string): number {
		const value = from[lastOf(place)];
		return typeof value === "number" && Number.isInteger(value) ? value : this.#fail(place, value, "an integer");
	}

	text(from: JsonObject, place: string): string {
		const value = from[lastOf(place)];
		return typeof value === "string" ? value : this.#fail(place, value, "a string");
	}

	textOr(from: JsonObject, place: string, absent: string): string {
		return from[lastOf(place)] === undefined ? absent : this.text(from, place);
	}

	#fail(place: string, value: unknown, expected: string): never {
		const message = `'${place}' of '${this.#file}' is ${JSON.stringify(value) ?? "missing"}, expected ${expected}`;
		throw new QGraphError("llm/config", message, { file: this.#file });
	}
}

function lastOf(place: string): string {
	return place.slice(place.lastIndexOf(".") + 1);
}

function isObject(value: unknown): value is JsonObject {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unsupported(file: string, what: string): QGraphError {
	return new QGraphError("llm/unsupported", `'${file}': ${what}`, { file });
}
