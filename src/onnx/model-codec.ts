import { QGraphError } from "../diagnostics.js";
import type { Graph } from "../ir/graph.js";
import { type FunctionDefinition, Model, type TrainingInfo } from "../ir/model.js";
import { decodeAttribute } from "./attribute-codec.js";
import type { ExternalDataResolver } from "./external-data.js";
import { attributeMap, GraphDecoder } from "./graph-decoder.js";
import { encodeAttributes, encodeGraph, encodeNodes, encodeValues } from "./graph-encoder.js";
import { decodeEntries, encodeEntries, keep, originOf, sameMap, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import type { Placer } from "./tensor-codec.js";

type OpsetRecord = WireRecord<"OperatorSetIdProto">;

/** ModelProto -> Model. Throws `onnx/not-a-model` where there is no graph. */
export function decodeModel(record: WireRecord<"ModelProto">, external: ExternalDataResolver | undefined): Model {
	if (record.graph === undefined) {
		throw new QGraphError("onnx/not-a-model", "not an ONNX model: it has no graph");
	}
	const decoder = new GraphDecoder(external);
	const model = setOrigin(new Model(decoder.decode(record.graph)), slim(record));
	model.irVersion = Number(record.ir_version ?? 0);
	model.producerName = record.producer_name ?? "";
	model.producerVersion = record.producer_version ?? "";
	model.domain = record.domain ?? "";
	model.modelVersion = BigInt(record.model_version ?? 0);
	model.docString = record.doc_string ?? "";
	for (const [domain, version] of decodeOpsets(record.opset_import)) model.opsetImports.set(domain, version);
	for (const [key, value] of decodeEntries(record.metadata_props)) model.metadata.set(key, value);
	model.functions.push(...(record.functions ?? []).map((stored) => decodeFunction(stored, decoder, external)));
	model.trainingInfo.push(
		...(record.training_info ?? []).map((stored) => decodeTraining(stored, decoder, model.graph)),
	);
	external?.checkOverlaps();
	return model;
}

/** Model -> ModelProto; `place` decides where the bytes of each tensor go. */
export function encodeModel(model: Model, place: Placer): WireRecord<"ModelProto"> {
	const stored = originOf(model, "ModelProto");
	return {
		ir_version: keep(stored?.ir_version, model.irVersion, 0),
		producer_name: keep(stored?.producer_name, model.producerName, ""),
		producer_version: keep(stored?.producer_version, model.producerVersion, ""),
		domain: keep(stored?.domain, model.domain, ""),
		model_version:
			BigInt(stored?.model_version ?? 0) === model.modelVersion ? stored?.model_version : model.modelVersion,
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
	const context = { external, decodeGraph: (graph: WireRecord<"GraphProto">) => decoder.decode(graph) };
	return setOrigin(
		{
			domain: record.domain ?? "",
			name: record.name ?? "",
			overload: record.overload ?? "",
			docString: record.doc_string ?? "",
			body,
			attributeNames: record.attribute ?? [],
			attributeDefaults: attributeMap(record.attribute_proto ?? [], (stored) => decodeAttribute(stored, context)),
			opsetImports: decodeOpsets(record.opset_import),
			metadata: decodeEntries(record.metadata_props),
		},
		{ ...record, node: undefined },
	);
}

function encodeFunction(definition: FunctionDefinition, place: Placer): WireRecord<"FunctionProto"> {
	const stored = originOf(definition, "FunctionProto");
	return {
		name: keep(stored?.name, definition.name, ""),
		input: definition.body.inputs.map((value) => value.name),
		output: definition.body.outputs.map((value) => value.name),
		attribute: [...definition.attributeNames],
		node: encodeNodes(definition.body, place),
		doc_string: keep(stored?.doc_string, definition.docString, ""),
		opset_import: encodeOpsets(definition.opsetImports, stored?.opset_import),
		domain: keep(stored?.domain, definition.domain, ""),
		attribute_proto: encodeAttributes(definition.attributeDefaults, place),
		value_info: encodeValues([...definition.body.valueInfo], "value_info"),
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
		record,
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

function decodeOpsets(records: readonly OpsetRecord[] | undefined): Map<string, number> {
	return new Map((records ?? []).map((record) => [record.domain ?? "", Number(record.version ?? 0)]));
}

function encodeOpsets(opsets: ReadonlyMap<string, number>, stored?: OpsetRecord[]): OpsetRecord[] | undefined {
	if (sameMap(opsets, decodeOpsets(stored))) return stored;
	const known = new Map((stored ?? []).map((record) => [record.domain ?? "", record]));
	return [...opsets].map(([domain, version]) => ({ domain, ...known.get(domain), version }));
}

/** What encoding a model needs of its record: not the parts that the IR holds in full. */
function slim(record: WireRecord<"ModelProto">): WireRecord<"ModelProto"> {
	return { ...record, graph: undefined, functions: undefined, training_info: undefined };
}
