import type { Model } from "../ir/model.js";
import { dataTypeName } from "../ir/types.js";
import { allNodes, allTensors, nodeLabel } from "../ir/walk.js";
import { annotationOf, packedAnnotationOf, type WeightAnnotation } from "../passes/support/annotation.js";
import type { Refusal } from "../passes/support/eligibility.js";
import { findNBitsSites } from "../passes/support/nbits-form.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";

/** A weight at one place where it is used. */
export interface WeightSummary extends WeightAnnotation {
	readonly node: string;
	readonly op: string;
	readonly graph: string;
	/** Why it cannot become LPBQ; undefined where it can. */
	readonly reason: string | undefined;
}

/** What is in a model. Bytes are those of tensors, shared ones counted once. */
export interface ModelSummary {
	readonly irVersion: number;
	readonly opsets: Readonly<Record<string, number>>;
	readonly producer: string;
	readonly nodes: number;
	/** Operator -> how many nodes, functions and subgraphs included. */
	readonly ops: Readonly<Record<string, number>>;
	/** Element type -> tensors and their bytes. */
	readonly tensors: Readonly<Record<string, { readonly count: number; readonly bytes: number }>>;
	readonly bytes: number;
}

/** Counts operators and tensor bytes. Reads no weights. */
export function summarizeModel(model: Model): ModelSummary {
	const ops = new Map<string, number>();
	let nodes = 0;
	for (const { node } of allNodes(model)) {
		const op = node.op.domain === "" ? node.op.type : `${node.op.domain}:${node.op.type}`;
		ops.set(op, (ops.get(op) ?? 0) + 1);
		nodes++;
	}
	const tensors = new Map<string, { count: number; bytes: number }>();
	let total = 0;
	for (const tensor of new Set(allTensors(model))) {
		const bytes = tensor.strings?.reduce((sum, string) => sum + string.byteLength, 0) ?? tensor.data.byteLength;
		const entry = tensors.get(dataTypeName(tensor.dtype)) ?? { count: 0, bytes: 0 };
		tensors.set(dataTypeName(tensor.dtype), { count: entry.count + 1, bytes: entry.bytes + bytes });
		total += bytes;
	}
	return {
		irVersion: model.irVersion,
		opsets: Object.fromEntries([...model.opsetImports].map(([domain, version]) => [domain || "ai.onnx", version])),
		producer: [model.producerName, model.producerVersion].filter(Boolean).join(" "),
		nodes,
		ops: Object.fromEntries([...ops].sort(([a], [b]) => a.localeCompare(b))),
		tensors: Object.fromEntries([...tensors].sort(([a], [b]) => a.localeCompare(b))),
		bytes: total,
	};
}

/** Every constant weight with its scheme, and whether and why not it could become LPBQ. Reads scales and zero points, not weights. */
export function summarizeWeights(model: Model): WeightSummary[] {
	const summaries = findWeightSites(model).map((site) => summaryOf(site, annotationOf(site)));
	const packed = findNBitsSites(model).map((site) => summaryOf(site, packedAnnotationOf(site)));
	return [...summaries, ...packed];
}

function summaryOf(
	{ node, graphSite }: Pick<WeightSite, "node" | "graphSite">,
	{ annotation, refusal }: { readonly annotation: WeightAnnotation; readonly refusal: Refusal | undefined },
): WeightSummary {
	return { ...annotation, node: nodeLabel(node), op: node.op.type, graph: graphSite.path, reason: refusal?.message };
}
