import { createHash } from "node:crypto";
import type { Attribute } from "./attribute.js";
import { everyPiece, readAll, type TensorData } from "./data.js";
import type { Graph } from "./graph.js";
import type { Model } from "./model.js";
import type { Node } from "./node.js";
import type { Tensor } from "./tensor.js";
import { DataType, dataTypeName, elementCount, type ValueType } from "./types.js";
import type { Value } from "./value.js";
import { functionKey } from "./walk.js";

export interface PrintOptions {
	/** Print a digest of every tensor's bytes, which reads all of them; default false. */
	readonly digests?: boolean;
}

/** Tensors of up to this many elements are printed in full. */
const MAX_PRINTED_ELEMENTS = 8;

/**
 * The text form of a model: one line a node, in order. The same model always prints the same, and any change that a pass
 * can make shows, those of weights only with `digests`. Meant for people and for golden files; nothing reads it back.
 */
export function printModel(model: Model, options: PrintOptions = {}): string {
	return new Printer(options).model(model);
}

class Printer {
	readonly #lines: string[] = [];
	readonly #digests: boolean;

	constructor(options: PrintOptions) {
		this.#digests = options.digests ?? false;
	}

	model(model: Model): string {
		const opsets = [...model.opsetImports].map(([domain, version]) => `${domain || "ai.onnx"}:${version}`);
		this.#line(0, `model ir=${model.irVersion} opsets=[${opsets.join(", ")}]${mapText("metadata", model.metadata)}`);
		this.#graph(model.graph, 0, "graph");
		for (const definition of model.functions) {
			const imports = [...definition.opsetImports].map(([domain, version]) => `${domain || "ai.onnx"}:${version}`);
			const attributes = [
				...definition.attributeNames,
				...[...definition.attributeDefaults].map(([name, attribute]) => `${name}=${this.#attribute(attribute)}`),
			];
			this.#line(0, `function ${functionKey(definition)} opsets=[${imports.join(", ")}] {${attributes.join(", ")}}`);
			this.#graph(definition.body, 0, "body");
		}
		for (const training of model.trainingInfo) {
			if (training.initialization) this.#graph(training.initialization, 0, "training initialization");
			if (training.algorithm) this.#graph(training.algorithm, 0, "training algorithm");
		}
		return `${this.#lines.join("\n")}\n`;
	}

	#graph(graph: Graph, depth: number, keyword: string): void {
		const inputs = graph.inputs.map((value) => `${nameText(value)}: ${typeText(value.type)}`);
		const outputs = graph.outputs.map((value) => `${nameText(value)}: ${typeText(value.type)}`);
		const head = `${keyword} ${graph.name}(${inputs.join(", ")}) -> (${outputs.join(", ")})`;
		this.#line(depth, `${head}${mapText("metadata", graph.metadata)} {`);
		for (const value of graph.initializers) {
			this.#line(depth + 1, `${nameText(value)} = ${this.#tensor(value.initializer!)}`);
		}
		for (const value of graph.sparseInitializers) {
			const { values, indices, shape } = value.sparseInitializer!;
			const text = `sparse [${shape.join(",")}] values=${this.#tensor(values)} indices=${this.#tensor(indices)}`;
			this.#line(depth + 1, `${nameText(value)} = ${text}`);
		}
		for (const node of graph.nodes) this.#node(node, depth + 1);
		this.#line(depth, "}");
	}

	#node(node: Node, depth: number): void {
		const outputs = node.outputs.map((value) => (value.name === "" ? "_" : nameText(value)));
		const inputs = node.inputs.map((value) => (value === undefined ? "_" : nameText(value)));
		const graphs: [string, Graph][] = [];
		const attributes: string[] = [];
		for (const [name, attribute] of node.attributes) {
			if (attribute.kind === "graph") graphs.push([name, attribute.value]);
			else if (attribute.kind === "graphs") {
				for (const [index, graph] of attribute.value.entries()) graphs.push([`${name}[${index}]`, graph]);
			} else attributes.push(`${name}=${this.#attribute(attribute)}`);
		}
		const op = [node.op.domain, node.op.type, node.op.overload].filter((part) => part !== "").join(":");
		let line = `${outputs.join(", ")} = ${op}(${inputs.join(", ")})`;
		if (attributes.length > 0) line += ` {${attributes.join(", ")}}`;
		if (node.name !== "") line += ` ${JSON.stringify(node.name)}`;
		this.#line(depth, line + mapText("metadata", node.metadata) + mapText("annotations", node.annotations));
		for (const [name, graph] of graphs) this.#graph(graph, depth + 1, `.${name}`);
	}

	#attribute(attribute: Attribute): string {
		switch (attribute.kind) {
			case "reference":
				return `@${attribute.to}`;
			case "opaque":
				return "?";
			case "tensor":
				return this.#tensor(attribute.value);
			case "tensors":
				return `[${attribute.value.map((tensor) => this.#tensor(tensor)).join(", ")}]`;
			case "string":
				return textOf(attribute.value);
			case "strings":
				return `[${attribute.value.map(textOf).join(", ")}]`;
			case "type":
				return typeText(attribute.value);
			case "types":
				return `[${attribute.value.map(typeText).join(", ")}]`;
			case "float":
			case "int":
				return String(attribute.value);
			case "floats":
			case "ints":
				return `[${attribute.value.join(", ")}]`;
			default:
				return attribute.kind;
		}
	}

	#tensor(tensor: Tensor): string {
		const head = `${dataTypeName(tensor.dtype)}[${tensor.shape.join(",")}]`;
		if (elementCount(tensor.shape) <= MAX_PRINTED_ELEMENTS) return `${head} {${elementTexts(tensor).join(", ")}}`;
		if (!this.#digests) return head;
		const hash = createHash("sha256");
		for (const string of tensor.strings ?? []) hash.update(string);
		everyPiece(tensor.data, (bytes) => {
			hash.update(bytes);
			return true;
		});
		return `${head} #${hash.digest("hex").slice(0, 12)}`;
	}

	#line(depth: number, text: string): void {
		this.#lines.push("  ".repeat(depth) + text);
	}
}

function nameText(value: Value): string {
	return /^[\w./:-]+$/.test(value.name) ? `%${value.name}` : `%${JSON.stringify(value.name)}`;
}

/** `FLOAT[1,seq,?]`, `sequence(FLOAT)`, `?` where nothing is known. */
export function typeText(type: ValueType | undefined): string {
	if (type === undefined || type.kind === "unknown") return "?";
	switch (type.kind) {
		case "tensor":
		case "sparse-tensor": {
			const shape = type.shape === undefined ? "" : `[${type.shape.map((dim) => dim ?? "?").join(",")}]`;
			return `${type.kind === "tensor" ? "" : "sparse "}${dataTypeName(type.elementType)}${shape}`;
		}
		case "map":
			return `map(${dataTypeName(type.keyType)}, ${typeText(type.value)})`;
		case "opaque":
			return `opaque(${type.domain}:${type.name})`;
		default:
			return `${type.kind}(${typeText(type.element)})`;
	}
}

function mapText(keyword: string, map: ReadonlyMap<string, string>): string {
	if (map.size === 0) return "";
	return ` ${keyword}{${[...map].map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(", ")}}`;
}

function textOf(data: TensorData): string {
	return data.byteLength > 256 ? `<${data.byteLength} bytes>` : JSON.stringify(new TextDecoder().decode(readAll(data)));
}

/** The elements as numbers where the type has a plain one, as hexadecimal bytes where it has none. */
function elementTexts(tensor: Tensor): string[] {
	if (tensor.strings !== undefined)
		return tensor.strings.map((bytes) => JSON.stringify(new TextDecoder().decode(bytes)));
	const bytes = Uint8Array.from(readAll(tensor.data));
	const count = elementCount(tensor.shape);
	const list = (array: Iterable<number | bigint>) => Array.from(array, String).slice(0, count);
	if (bytes.byteLength % 8 === 0) {
		if (tensor.dtype === DataType.DOUBLE) return list(new Float64Array(bytes.buffer));
		if (tensor.dtype === DataType.INT64) return list(new BigInt64Array(bytes.buffer));
		if (tensor.dtype === DataType.UINT64) return list(new BigUint64Array(bytes.buffer));
	}
	if (bytes.byteLength % 4 === 0) {
		if (tensor.dtype === DataType.FLOAT) return list(new Float32Array(bytes.buffer));
		if (tensor.dtype === DataType.INT32) return list(new Int32Array(bytes.buffer));
		if (tensor.dtype === DataType.UINT32) return list(new Uint32Array(bytes.buffer));
	}
	if (bytes.byteLength % 2 === 0) {
		if (tensor.dtype === DataType.INT16) return list(new Int16Array(bytes.buffer));
		if (tensor.dtype === DataType.UINT16) return list(new Uint16Array(bytes.buffer));
	}
	if (tensor.dtype === DataType.INT8) return list(new Int8Array(bytes.buffer));
	if (tensor.dtype === DataType.UINT8 || tensor.dtype === DataType.BOOL) return list(bytes);
	if (tensor.dtype === DataType.INT4) return list(Array.from(nibbles(bytes), (code) => (code << 28) >> 28));
	if (tensor.dtype === DataType.UINT4) return list(nibbles(bytes));
	return bytes.byteLength === 0 ? [] : [`0x${Buffer.from(bytes).toString("hex")}`];
}

function* nibbles(bytes: Uint8Array): Generator<number> {
	for (const byte of bytes) {
		yield byte & 15;
		yield byte >> 4;
	}
}
