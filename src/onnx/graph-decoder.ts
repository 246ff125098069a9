import { Graph } from "../ir/graph.js";
import type { Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { decodeAttribute } from "./attribute-codec.js";
import type { ExternalDataResolver } from "./external-data.js";
import { decodeEntries, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import { decodeSparseTensor, decodeTensor } from "./tensor-codec.js";
import { describeValue, type ValueList } from "./value-codec.js";

/** The names that a graph defines, and the graph around it. */
interface Scope {
	readonly graph: Graph;
	readonly values: Map<string, Value>;
	readonly outer: Scope | undefined;
}

/** GraphProto and the node lists of functions -> Graph. Names become values: every definition first, then every use. */
export class GraphDecoder {
	readonly #external: ExternalDataResolver | undefined;

	constructor(external: ExternalDataResolver | undefined) {
		this.#external = external;
	}

	/** The graph of `record`; it may read the values of `outer`. */
	decode(record: WireRecord<"GraphProto">, outer?: Graph): Graph {
		const outerScope = outer === undefined ? undefined : scopes.get(outer);
		return this.#graph(record, outerScope);
	}

	/** The body of a function. */
	decodeBody(record: WireRecord<"FunctionProto">): Graph {
		const graph = new Graph(record.name ?? "", { isFunctionBody: true });
		const scope: Scope = { graph, values: new Map(), outer: undefined };
		for (const name of record.input ?? []) graph.addInput(declare(scope, name));
		this.#nodes(record.node ?? [], scope);
		for (const name of record.output ?? []) graph.addOutput(resolve(scope, name));
		this.#describe(record.value_info, scope, "value_info", (value) => graph.valueInfo.add(value));
		return graph;
	}

	#graph(record: WireRecord<"GraphProto">, outer: Scope | undefined): Graph {
		const graph = setOrigin(new Graph(record.name ?? ""), record);
		const scope: Scope = { graph, values: new Map(), outer };
		scopes.set(graph, scope);
		graph.docString = record.doc_string ?? "";
		for (const [key, value] of decodeEntries(record.metadata_props)) graph.metadata.set(key, value);
		graph.quantizationAnnotations = (record.quantization_annotation ?? []).map((annotation) =>
			setOrigin(
				{
					tensorName: annotation.tensor_name ?? "",
					parameters: decodeEntries(annotation.quant_parameter_tensor_names),
				},
				annotation,
			),
		);
		for (const input of record.input ?? []) graph.addInput(declare(scope, input.name ?? ""));
		this.#initializers(record, scope);
		this.#nodes(record.node ?? [], scope);
		for (const output of record.output ?? []) graph.addOutput(resolve(scope, output.name ?? ""));
		describeInOrder(graph.inputs, record.input, "input");
		describeInOrder(graph.outputs, record.output, "output");
		this.#describe(record.value_info, scope, "value_info", (value) => graph.valueInfo.add(value));
		return graph;
	}

	#initializers(record: WireRecord<"GraphProto">, scope: Scope): void {
		const { graph } = scope;
		const free = (name: string) => {
			const value = scope.values.get(name);
			const taken = value?.initializer ?? value?.sparseInitializer;
			return value !== undefined && taken === undefined ? value : declare(scope, name);
		};
		for (const stored of record.initializer ?? []) {
			graph.setInitializer(free(stored.name ?? ""), decodeTensor(stored, this.#external));
		}
		for (const stored of record.sparse_initializer ?? []) {
			const value = free(stored.values?.name ?? "");
			value.sparseInitializer = decodeSparseTensor(stored, this.#external);
			graph.sparseInitializers.add(value);
		}
	}

	#nodes(records: readonly WireRecord<"NodeProto">[], scope: Scope): void {
		const outputs = records.map((record) => (record.output ?? []).map((name) => declare(scope, name)));
		for (const [index, record] of records.entries()) this.#node(record, outputs[index] ?? [], scope);
	}

	#node(record: WireRecord<"NodeProto">, outputs: readonly Value[], scope: Scope): Node {
		const context = {
			external: this.#external,
			decodeGraph: (graph: WireRecord<"GraphProto">) => this.#graph(graph, scope),
		};
		const node = scope.graph.createNode({
			op: { domain: record.domain ?? "", type: record.op_type ?? "", overload: record.overload ?? "" },
			name: record.name ?? "",
			inputs: (record.input ?? []).map((name) => (name === "" ? undefined : resolve(scope, name))),
			outputs,
			attributes: attributeMap(record.attribute ?? [], (attribute) => decodeAttribute(attribute, context)),
		});
		node.docString = record.doc_string ?? "";
		for (const [key, value] of decodeEntries(record.metadata_props)) node.metadata.set(key, value);
		return setOrigin(node, slim(record));
	}

	#describe(
		records: readonly WireRecord<"ValueInfoProto">[] | undefined,
		scope: Scope,
		list: ValueList,
		add: (value: Value) => void,
	): void {
		const seen = new Map<Value, number>();
		for (const record of records ?? []) {
			const name = record.name ?? "";
			const value = scope.values.get(name) ?? declare(scope, name);
			describeValue(value, record, list, countUp(seen, value));
			add(value);
		}
	}
}

/** Of graphs that were decoded: the names that graphs attached from outside (training steps) may read. */
const scopes = new WeakMap<Graph, Scope>();

function describeInOrder(
	values: readonly Value[],
	records: readonly WireRecord<"ValueInfoProto">[] | undefined,
	list: ValueList,
): void {
	const seen = new Map<Value, number>();
	for (const [index, record] of (records ?? []).entries()) {
		const value = values[index]!;
		describeValue(value, record, list, countUp(seen, value));
	}
}

/** How often `value` was counted before. */
export function countUp(seen: Map<Value, number>, value: Value): number {
	const before = seen.get(value) ?? 0;
	seen.set(value, before + 1);
	return before;
}

/** A name given twice keeps both attributes: the later ones under the name, a NUL and a number. */
export function attributeMap<R extends { name?: string | undefined }, A>(
	records: readonly R[],
	decode: (record: R) => A,
): Map<string, A> {
	const map = new Map<string, A>();
	for (const record of records) {
		const name = record.name ?? "";
		let key = name;
		for (let copy = 2; map.has(key); copy++) key = `${name}\0${copy}`;
		map.set(key, decode(record));
	}
	return map;
}

/** A new value of the scope's graph; the first of a name is the one that uses of the name mean. */
function declare(scope: Scope, name: string): Value {
	const value = scope.graph.createValue(name);
	if (name !== "" && !scope.values.has(name)) scope.values.set(name, value);
	return value;
}

/** What `name` means in `scope`; a name that nothing defines becomes a value without a producer. */
function resolve(scope: Scope, name: string): Value {
	for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
		const value = at.values.get(name);
		if (value !== undefined) return value;
	}
	return declare(scope, name);
}

/** What encoding a node needs of its record: not the parts that the IR holds in full. */
function slim(record: WireRecord<"NodeProto">): WireRecord<"NodeProto"> {
	return { ...record, input: undefined, output: undefined, attribute: undefined };
}
