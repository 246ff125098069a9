import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite, nodeLabel } from "../ir/walk.js";
import { isView } from "../weights/activation.js";
import { type Constant, constantOf } from "../weights/constant.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { layerFromNames, type Role, roleFromNames } from "./role.js";
import type { Unit } from "./unit.js";

/** A unit with what it stands for in the model. */
export type ModelUnit = Unit &
	(
		| { readonly kind: "weight"; readonly site: WeightSite }
		| { readonly kind: "embedding"; readonly operator: Node; readonly table: Constant }
		| { readonly kind: "attention-product"; readonly operator: Node }
		| { readonly kind: "kv-cache"; readonly value: Value }
	);

/** Every unit of a model: weights, tables of Gather, products of attentions, caches of keys and values. */
export function findUnits(model: Model): ModelUnit[] {
	const units: ModelUnit[] = findWeightSites(model).map((site) => ({
		...describe(site.node, site.graphSite, site.weightName),
		kind: "weight",
		shape: site.stored.tensor.shape,
		site,
	}));
	for (const graphSite of allGraphs(model)) {
		for (const node of graphSite.graph.nodes) {
			if (isOnnxOp(node, "Gather")) {
				const table = constantOf(node.inputs[0]);
				if (table?.tensor.shape.length !== 2 || intOf(node, "axis", 0) !== 0 || constantOf(node.inputs[1])) continue;
				const described = describe(node, graphSite, table.value.name);
				const { shape } = table.tensor;
				units.push({ ...described, kind: "embedding", role: "embedding", shape, operator: node, table });
			} else if (isOnnxOp(node, "MatMul")) {
				const role = attentionRole(node);
				if (role === undefined) continue;
				const described = describe(node, graphSite, undefined);
				units.push({ ...described, kind: "attention-product", role, shape: undefined, operator: node });
			}
		}
	}
	for (const value of model.graph.inputs) {
		if (!/(?:past|cache).*(?:key|value)|(?:key|value).*cache|(?:^|[._])[kv]_cache/i.test(value.name)) continue;
		units.push({
			kind: "kv-cache",
			node: value.name,
			op: "",
			graph: model.graph.name,
			scope: "",
			weight: undefined,
			shape: undefined,
			role: "kv_cache",
			layer: layerFromNames([value.name]) ?? lastNumber(value.name),
			value,
		});
	}
	return units;
}

/** `past_key_values.3.key` has its layer without a word in front. */
function lastNumber(name: string): number | undefined {
	const match = /[._](\d+)(?=[._]|$)/.exec(name);
	return match === null ? undefined : Number(match[1]);
}

/** The operator at `site` as a unit: what rules say of activations of operators that have no weight. */
export function operatorUnit(node: Node, site: GraphSite): Unit {
	return { ...describe(node, site, undefined), kind: "operator", role: undefined, shape: undefined };
}

type Described = Pick<Unit, "node" | "op" | "graph" | "scope" | "weight" | "layer" | "role">;

function describe(node: Node, graphSite: GraphSite, weight: string | undefined): Described {
	const scope = scopeOf(node);
	const names = [weight ?? "", scope, node.name, node.outputs[0]?.name ?? ""].filter((name) => name !== "");
	const layer = layerFromNames(names);
	return {
		node: nodeLabel(node),
		op: node.op.type,
		graph: graphSite.path,
		scope,
		weight,
		layer,
		role: roleFromNames(names, layer),
	};
}

/** The module that a node comes from: torch.onnx writes it into metadata, or older versions into the name. */
function scopeOf(node: Node): string {
	const recorded = node.metadata.get("pkg.torch.onnx.name_scopes");
	const scopes = recorded === undefined ? [] : [...recorded.matchAll(/'([^']*)'|"([^"]*)"/g)];
	const innermost = scopes.at(-2);
	if (innermost !== undefined) return innermost[1] ?? innermost[2] ?? "";
	return node.name.split("/").slice(0, -1).filter(Boolean).join(".");
}

/** Steps between an attention product and its softmax: scaling, masking, casts, quantizers, sinks (Concat, Slice). */
const MAX_STEPS = 16;
const BETWEEN = [
	...["Mul", "Div", "Add", "Sub", "Where", "Cast", "QuantizeLinear", "DequantizeLinear", "Clip", "Tanh", "Dropout"],
	...["Concat", "Slice"],
];

function attentionRole(node: Node): Role | undefined {
	if (node.inputs.some((input) => constantOf(input) !== undefined)) return undefined;
	if (node.inputs.some(isMadeOfSoftmax)) return "attention_values";
	return reachesSoftmax(node.outputs[0]) ? "attention_scores" : undefined;
}

/** Is it a Softmax, but for scaling, masks, quantizers and views? */
export function isMadeOfSoftmax(value: Value | undefined): boolean {
	let producer = value?.producer;
	for (let step = 0; step < MAX_STEPS && producer !== undefined; step++) {
		if (isOnnxOp(producer, "Softmax")) return true;
		if (!isOnnxOp(producer, ...BETWEEN) && !isView(producer)) return false;
		producer = producer.inputs[0]?.producer;
	}
	return false;
}

function reachesSoftmax(value: Value | undefined): boolean {
	let at = value;
	for (let step = 0; step < MAX_STEPS && at !== undefined; step++) {
		const readers = at.uses.map(({ node }) => node);
		if (readers.some((reader) => isOnnxOp(reader, "Softmax"))) return true;
		at = readers.find((reader) => isOnnxOp(reader, ...BETWEEN) || isView(reader))?.outputs[0];
	}
	return false;
}
