import type { Attribute } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { encodeAttribute } from "./attribute-codec.js";
import { countUp } from "./graph-decoder.js";
import { encodeEntries, keep, originOf } from "./origin.js";
import type { WireRecord } from "./record.js";
import { encodeSparseTensor, encodeTensor, type Placer } from "./tensor-codec.js";
import { encodeValueInfo, type ValueList } from "./value-codec.js";

/** Graph -> GraphProto. */
export function encodeGraph(graph: Graph, place: Placer): WireRecord<"GraphProto"> {
	const stored = originOf(graph, "GraphProto");
	return {
		node: encodeNodes(graph, place),
		name: keep(stored?.name, graph.name, ""),
		initializer: [...graph.initializers].map((value) => encodeTensor(value.initializer!, value.name, place)),
		doc_string: keep(stored?.doc_string, graph.docString, ""),
		input: encodeValues(graph.inputs, "input"),
		output: encodeValues(graph.outputs, "output"),
		value_info: encodeValues([...graph.valueInfo], "value_info"),
		quantization_annotation: graph.quantizationAnnotations.map(
			(annotation) =>
				originOf(annotation, "TensorAnnotation") ?? {
					tensor_name: annotation.tensorName,
					quant_parameter_tensor_names: encodeEntries(annotation.parameters),
				},
		),
		sparse_initializer: [...graph.sparseInitializers].map((value) =>
			encodeSparseTensor(value.sparseInitializer!, value.name, place),
		),
		metadata_props: encodeEntries(graph.metadata, stored?.metadata_props),
		$unknown: stored?.$unknown,
	};
}

export function encodeNodes(graph: Graph, place: Placer): WireRecord<"NodeProto">[] {
	return Array.from(graph.nodes, (node) => encodeNode(node, place));
}

export function encodeValues(values: readonly Value[], list: ValueList): WireRecord<"ValueInfoProto">[] {
	const seen = new Map<Value, number>();
	return values.map((value) => encodeValueInfo(value, list, countUp(seen, value)));
}

export function encodeAttributes(
	attributes: ReadonlyMap<string, Attribute>,
	place: Placer,
): WireRecord<"AttributeProto">[] {
	return Array.from(attributes, ([key, attribute]) =>
		encodeAttribute(attribute, key.split("\0")[0]!, place, (graph) => encodeGraph(graph, place)),
	);
}

function encodeNode(node: Node, place: Placer): WireRecord<"NodeProto"> {
	const stored = originOf(node, "NodeProto");
	return {
		input: node.inputs.map((value) => value?.name ?? ""),
		output: node.outputs.map((value) => value.name),
		name: keep(stored?.name, node.name, ""),
		op_type: keep(stored?.op_type, node.op.type, ""),
		attribute: encodeAttributes(node.attributes, place),
		doc_string: keep(stored?.doc_string, node.docString, ""),
		domain: keep(stored?.domain, node.op.domain, ""),
		overload: keep(stored?.overload, node.op.overload, ""),
		metadata_props: encodeEntries(node.metadata, stored?.metadata_props),
		device_configurations: stored?.device_configurations,
		$unknown: stored?.$unknown,
	};
}
