import type { Graph } from "../ir/graph.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { encodeAttributes } from "./attribute-codec.js";
import { encodeEntries, keep, originOf } from "./origin.js";
import type { WireRecord } from "./record.js";
import { encodeSparseTensor, encodeTensor, type Placer } from "./tensor-codec.js";
import { encodeValues } from "./value-codec.js";

/** Graph -> GraphProto. */
export function encodeGraph(graph: Graph, place: Placer): WireRecord<"GraphProto"> {
	const stored = originOf(graph, "GraphProto");
	return {
		node: encodeNodes(graph, place),
		name: keep(stored?.name, graph.name, ""),
		initializer: Array.from(graph.initializers, (value) =>
			encodeTensor(value.initializer!, value.name, place, "weight"),
		),
		doc_string: keep(stored?.doc_string, graph.docString, ""),
		input: encodeValues(graph.inputs, graph, "input"),
		output: encodeValues(graph.outputs, graph, "output"),
		value_info: encodeValues(graph.valueInfo, graph, "value_info"),
		quantization_annotation: graph.quantizationAnnotations.map(
			(annotation) =>
				originOf(annotation, "TensorAnnotation") ?? {
					tensor_name: annotation.tensorName,
					quant_parameter_tensor_names: encodeEntries(annotation.parameters),
				},
		),
		sparse_initializer: Array.from(graph.sparseInitializers, (value) =>
			encodeSparseTensor(value.sparseInitializer!, value.name, place, "weight"),
		),
		metadata_props: encodeEntries(graph.metadata, stored?.metadata_props),
		$unknown: stored?.$unknown,
	};
}

export function encodeNodes(graph: Graph, place: Placer): WireRecord<"NodeProto">[] {
	return Array.from(graph.nodes, (node) => encodeNode(node, place));
}

function encodeNode(node: Node, place: Placer): WireRecord<"NodeProto"> {
	const stored = originOf(node, "NodeProto");
	const role = isOnnxOp(node, "Constant") ? "weight" : "attribute";
	return {
		input: node.inputs.map((value) => value?.name ?? ""),
		output: node.outputs.map((value) => value.name),
		name: keep(stored?.name, node.name, ""),
		op_type: keep(stored?.op_type, node.op.type, ""),
		attribute: encodeAttributes(node.attributes, { role, place, encodeGraph: (graph) => encodeGraph(graph, place) }),
		doc_string: keep(stored?.doc_string, node.docString, ""),
		domain: keep(stored?.domain, node.op.domain, ""),
		overload: keep(stored?.overload, node.op.overload, ""),
		metadata_props: encodeEntries(node.metadata, stored?.metadata_props),
		device_configurations: stored?.device_configurations,
		$unknown: stored?.$unknown,
	};
}
