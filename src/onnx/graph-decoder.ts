import { Graph, type QuantizationAnnotation } from "../ir/graph.js";
import type { Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { type AttributeContext, decodeAttributes } from "./attribute-codec.js";
import type { ExternalDataResolver } from "./external-data.js";
import { arePlain, arePlainEntries, decodeEntries, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import { decodeSparseTensor, decodeTensor } from "./tensor-codec.js";
import { describeAgain, describeValue, occurrenceCounter } from "./value-codec.js";

/** The names that a graph defines, and the graph around it. */
interface Scope {
	readonly graph: Graph;
	readonly values: Map<string, Value>;
	readonly outer: Scope | undefined;
}

/**
 * The graphs of one model: GraphProto and the node lists of functions -> Graph. Names become values: every definition of
 * a graph first, then every use.
 */
export class GraphDecoder {
	readonly #external: ExternalDataResolver | undefined;
	/** Of each graph, so that training steps find the main graph's names. */
	readonly #scopes: Map<Graph, Scope> = new Map();
	readonly #described: Set<Value> = new Set();

	constructor(external: ExternalDataResolver | undefined) {
		this.#external = external;
	}

	/** The graph of `record`; it may read the values of `outer`. */
	decode(record: WireRecord<"GraphProto">, outer?: Graph): Graph {
		return this.#graph(record, outer === undefined ? undefined : this.#scopes.get(outer));
	}

	/** The body of a function. */
	decodeBody(record: WireRecord<"FunctionProto">): Graph {
		const graph = new Graph(record.name ?? "", { isFunctionBody: true });
		const scope: Scope = { graph, values: new Map(), outer: undefined };
		for (const name of record.input ?? []) graph.addInput(declare(scope, name));
		this.#nodes(record.node ?? [], scope);
		for (const name of record.output ?? []) graph.addOutput(resolve(scope, name));
		this.#describeOthers(record.value_info, scope);
		return graph;
	}

	#graph(record: WireRecord<"GraphProto">, outer: Scope | undefined): Graph {
		const graph = new Graph(record.name ?? "");
		const scope: Scope = { graph, values: new Map(), outer };
		this.#scopes.set(graph, scope);
		graph.docString = record.doc_string ?? "";
		for (const [key, value] of decodeEntries(record.metadata_props)) graph.metadata.set(key, value);
		graph.quantizationAnnotations = (record.quantization_annotation ?? []).map(decodeAnnotation);
		for (const input of record.input ?? []) graph.addInput(declare(scope, input.name ?? ""));
		this.#initializers(record, scope);
		this.#nodes(record.node ?? [], scope);
		for (const output of record.output ?? []) graph.addOutput(resolve(scope, output.name ?? ""));
		this.#describe(record.input, graph, "input");
		this.#describe(record.output, graph, "output");
		this.#describeOthers(record.value_info, scope);
		keepOrigin(graph, record);
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
		const context: AttributeContext = {
			external: this.#external,
			decodeGraph: (graph) => this.#graph(graph, scope),
		};
		for (const [index, record] of records.entries()) {
			const node = scope.graph.createNode({
				op: { domain: record.domain ?? "", type: record.op_type ?? "", overload: record.overload ?? "" },
				name: record.name ?? "",
				inputs: (record.input ?? []).map((name) => (name === "" ? undefined : resolve(scope, name))),
				outputs: outputs[index] ?? [],
				attributes: decodeAttributes(record.attribute, context),
			});
			node.docString = record.doc_string ?? "";
			for (const [key, value] of decodeEntries(record.metadata_props)) node.metadata.set(key, value);
			keepOrigin(node, record);
		}
	}

	/** What the list of a graph's inputs or outputs says of them. */
	#describe(records: readonly WireRecord<"ValueInfoProto">[] = [], graph: Graph, list: "input" | "output"): void {
		const values = list === "input" ? graph.inputs : graph.outputs;
		const occurrence = occurrenceCounter();
		for (const [index, record] of records.entries()) {
			const value = values[index]!;
			const count = occurrence(value);
			if (this.#described.has(value)) describeAgain(value, record, graph, list, count);
			else describeValue(value, record);
			this.#described.add(value);
		}
	}

	/**
	 * What `value_info` says. A name that nothing defines, and one that was listed before, get a value that nothing uses:
	 * it stands for the entry.
	 */
	#describeOthers(records: readonly WireRecord<"ValueInfoProto">[] = [], scope: Scope): void {
		const { graph, values } = scope;
		for (const record of records) {
			const known = values.get(record.name ?? "");
			const value = known === undefined || graph.valueInfo.has(known) ? declare(scope, record.name ?? "") : known;
			if (this.#described.has(value)) describeAgain(value, record, graph, "value_info", 0);
			else describeValue(value, record);
			this.#described.add(value);
			graph.valueInfo.add(value);
		}
	}
}

function decodeAnnotation(record: WireRecord<"TensorAnnotation">): QuantizationAnnotation {
	const parameters = decodeEntries(record.quant_parameter_tensor_names);
	return setOrigin({ tensorName: record.tensor_name ?? "", parameters }, record);
}

type OwnFields = "name" | "op_type" | "doc_string" | "domain" | "overload" | "metadata_props" | "device_configurations";

/** Keeps what the graph or node `object` has no place for, where there is anything. */
function keepOrigin(object: Graph | Node, record: Pick<WireRecord<"NodeProto">, OwnFields | "$unknown">): void {
	const { name, op_type, doc_string, domain, overload, metadata_props, device_configurations, $unknown } = record;
	const isPlain =
		arePlain(name, op_type, doc_string, domain, overload) &&
		arePlainEntries(metadata_props) &&
		device_configurations === undefined &&
		$unknown === undefined;
	if (isPlain) return;
	setOrigin(object, { name, op_type, doc_string, domain, overload, metadata_props, device_configurations, $unknown });
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
