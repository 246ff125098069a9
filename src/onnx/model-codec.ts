import { QGraphError } from "../diagnostics.js";
import type { Graph } from "../ir/graph.js";
import { type FunctionDefinition, Model, type TrainingInfo } from "../ir/model.js";
import { type AttributeContext, decodeAttributes, encodeAttributes } from "./attribute-codec.js";
import type { ExternalDataResolver } from "./external-data.js";
import { GraphDecoder } from "./graph-decoder.js";
import { encodeGraph, encodeNodes } from "./graph-encoder.js";
import { decodeEntries, encodeEntries, encodeMap, keep, originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import type { Placer } from "./tensor-codec.js";
import { encodeValues } from "./value-codec.js";

type OpsetRecord = WireRecord<"OperatorSetIdProto">;

/** ModelProto -> Model. Throws `onnx/not-a-model` where there is no graph. */
export function decodeModel(record: WireRecord<"ModelProto">, external: ExternalDataResolver | undefined): Model {
	if (record.graph === undefined) {
		throw new QGraphError("onnx/not-a-model", "not an ONNX model: it has no graph");
	}
	const decoder = new GraphDecoder(external);
	const model = setOrigin(new Model(decoder.decode(record.graph)), slimModel(record));
	model.irVersion = Number(record.ir_version ?? 0);
	model.producerName = record.producer_name ?? "";
	model.producerVersion = record.producer_version ?? "";
	model.domain = record.domain ?? "";
	model.modelVersion = BigInt(record.model_version ?? 0);
	model.docString = record.doc_string ?? "";
	for (const [domain, version] of decodeOpsets(record.opset_import)) model.opsetImports.set(domain, version);
	for (const [key, value] of decodeEntries(record.metadata_props)) model.metadata.set(key, value);
	for (const stored of record.functions ?? []) model.functions.push(decodeFunction(stored, decoder, external));
	for (const stored of record.training_info ?? []) {
		model.trainingInfo.push(decodeTraining(stored, decoder, model.graph));
	}
	external?.checkOverlaps();
	return model;
}

/** Model -> ModelProto; `place` decides where the bytes of each tensor go. */
export function encodeModel(model: Model, place: Placer): WireRecord<"ModelProto"> {
	const stored = originOf(model, "ModelProto");
	const isVersionKept = Number(stored?.ir_version ?? 0) === model.irVersion;
	const isModelVersionKept = BigInt(stored?.model_version ?? 0) === model.modelVersion;
	return {
		ir_version: isVersionKept ? stored?.ir_version : model.irVersion,
		producer_name: keep(stored?.producer_name, model.producerName, ""),
		producer_version: keep(stored?.producer_version, model.producerVersion, ""),
		domain: keep(stored?.domain, model.domain, ""),
		model_version: isModelVersionKept ? stored?.model_version : model.modelVersion,
		doc_string: keep(stored?.doc_string, model.docString, ""),
		graph: encodeGraph(model.graph, place),
		opset_import: encodeOpsets(model.opsetImports, stored?.opset_import),
		metadata_props: encodeEntries(model.metadata, stored?.metadata_props),
		training_info: model.trainingInfo.map((training) => encodeTraining(training, place)),
		functions: model.functions.map((definition) => encodeFunction(definition, place)),
		configuration: stored?.configuration,
		$unknown: stored?.$unknown,
	};
}

function decodeFunction(
	record: WireRecord<"FunctionProto">,
	decoder: GraphDecoder,
	external: ExternalDataResolver | undefined,
): FunctionDefinition {
	const body = decoder.decodeBody(record);
	const context: AttributeContext = { external, decodeGraph: (graph) => decoder.decode(graph) };
	return setOrigin(
		{
			domain: record.domain ?? "",
			name: record.name ?? "",
			overload: record.overload ?? "",
			docString: record.doc_string ?? "",
			body,
			attributeNames: record.attribute ?? [],
			attributeDefaults: decodeAttributes(record.attribute_proto, context),
			opsetImports: decodeOpsets(record.opset_import),
			metadata: decodeEntries(record.metadata_props),
		},
		slimFunction(record),
	);
}

function encodeFunction(definition: FunctionDefinition, place: Placer): WireRecord<"FunctionProto"> {
	const stored = originOf(definition, "FunctionProto");
	const { body } = definition;
	return {
		name: keep(stored?.name, definition.name, ""),
		input: body.inputs.map((value) => value.name),
		output: body.outputs.map((value) => value.name),
		attribute: [...definition.attributeNames],
		node: encodeNodes(body, place),
		doc_string: keep(stored?.doc_string, definition.docString, ""),
		opset_import: encodeOpsets(definition.opsetImports, stored?.opset_import),
		domain: keep(stored?.domain, definition.domain, ""),
		attribute_proto: encodeAttributes(definition.attributeDefaults, {
			role: "attribute",
			place,
			encodeGraph: (graph) => encodeGraph(graph, place),
		}),
		value_info: encodeValues(body.valueInfo, body, "value_info"),
		overload: keep(stored?.overload, definition.overload, ""),
		metadata_props: encodeEntries(definition.metadata, stored?.metadata_props),
		$unknown: stored?.$unknown,
	};
}

function decodeTraining(record: WireRecord<"TrainingInfoProto">, decoder: GraphDecoder, main: Graph): TrainingInfo {
	const pairs = (entries: readonly WireRecord<"StringStringEntryProto">[] | undefined) =>
		(entries ?? []).map((entry) => [entry.key ?? "", entry.value ?? ""] as const);
	return setOrigin(
		{
			initialization: record.initialization && decoder.decode(record.initialization, main),
			algorithm: record.algorithm && decoder.decode(record.algorithm, main),
			initializationBinding: pairs(record.initialization_binding),
			updateBinding: pairs(record.update_binding),
		},
		{ ...record, initialization: undefined, algorithm: undefined },
	);
}

function encodeTraining(training: TrainingInfo, place: Placer): WireRecord<"TrainingInfoProto"> {
	const entries = (pairs: readonly (readonly [string, string])[]) => pairs.map(([key, value]) => ({ key, value }));
	const stored = originOf(training, "TrainingInfoProto");
	return {
		initialization: training.initialization && encodeGraph(training.initialization, place),
		algorithm: training.algorithm && encodeGraph(training.algorithm, place),
		initialization_binding: stored?.initialization_binding ?? entries(training.initializationBinding),
		update_binding: stored?.update_binding ?? entries(training.updateBinding),
		$unknown: stored?.$unknown,
	};
}

function decodeOpsets(records: readonly OpsetRecord[] = []): Map<string, number> {
	return new Map(records.map(opsetOf));
}

function encodeOpsets(opsets: ReadonlyMap<string, number>, stored?: readonly OpsetRecord[]): OpsetRecord[] | undefined {
	return encodeMap(opsets, stored, opsetOf, "domain", "version");
}

function opsetOf(record: OpsetRecord): readonly [string, number] {
	return [record.domain ?? "", Number(record.version ?? 0)];
}

/** What encoding a model needs of its record: not the parts that the IR holds in full. */
function slimModel(record: WireRecord<"ModelProto">): WireRecord<"ModelProto"> {
	return { ...record, graph: undefined, functions: undefined, training_info: undefined };
}

function slimFunction(record: WireRecord<"FunctionProto">): WireRecord<"FunctionProto"> {
	return { ...record, node: undefined, value_info: undefined, attribute_proto: undefined };
}
