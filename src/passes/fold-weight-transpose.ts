import { intAttribute, intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { elementCount, rawByteLength } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { nodeLabel } from "../ir/walk.js";
import { addConstant, type Constant, constantOf } from "../weights/constant.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import type { Refusal } from "./support/eligibility.js";
import { removeUnused } from "./support/remove-unused.js";
import { isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import {
	composed,
	identityView,
	isIdentity,
	type View,
	viewedTensor,
	viewOf,
	viewShape,
} from "./support/tensor-view.js";

/**
 * `MatMul(x, Transpose(DequantizeLinear(W)))` -> `MatMul(x, DequantizeLinear(W transposed))`, scales, zero points and axis
 * likewise, and the same for Reshape, Squeeze, Unsqueeze and Identity where they only add or remove axes of length 1.
 * A Gemm that reads a Transpose has its transB turned over instead.
 */
export const foldWeightTranspose = definePass<SelectionOptions>({
	name: "fold-weight-transpose",
	summary: "Put Transpose and Reshape between constant weights and their operators into the weights.",
	options: SELECTION_OPTIONS,
	run(model, context) {
		const folding = new Folding(model);
		const sites = findWeightSites(model).filter((site) => site.indirect !== undefined);
		let changed = false;
		for (const site of sites.filter((site) => isSelected(site, context.options))) {
			const isTurned = turnGemm(site);
			const folded = folding.fold(site.node.inputs[site.input]!);
			const isFolded = "value" in folded && readInstead(site, folded.value);
			if ("code" in folded) {
				context.count("weights kept");
				const reason = `weight '${site.weightName}' reaches its operator through ${site.indirect!.op.type}: ${folded.message}`;
				context.report(folded.code, reason, placeOf(site));
			} else context.count("weights folded");
			changed ||= isTurned || isFolded;
		}
		folding.takeNames();
		for (const site of folding.copied(sites)) {
			const message = `weight '${site.weightName}' is also read in its old order, so that the model holds it twice`;
			context.report("weight/copied", message, placeOf(site));
		}
		if (changed) refreshAnnotations(model);
		return changed;
	},
});

function placeOf({ graphSite, node, weightName }: WeightSite) {
	return { graph: graphSite.path, node: nodeLabel(node), value: weightName };
}

/** Makes the operator read `value`; says whether that is another one than before. */
function readInstead({ node, input }: WeightSite, value: Value): boolean {
	const before = node.inputs[input]!;
	if (before === value) return false;
	node.setInput(input, value);
	removeUnused(before);
	return true;
}

/** Lets a Gemm read its weight as it is before the last Transpose; says whether it does. */
function turnGemm({ node, input }: WeightSite): boolean {
	if (!isOnnxOp(node, "Gemm")) return false;
	const name = input === 1 ? "transB" : "transA";
	let turned = false;
	for (let producer = node.inputs[input]?.producer; producer !== undefined; producer = node.inputs[input]?.producer) {
		const source = producer.inputs[0];
		if (!isOnnxOp(producer, "Transpose") || source === undefined || viewOf(producer, [0, 0])?.join() !== "1,0") break;
		const before = node.inputs[input]!;
		node.setInput(input, source);
		node.attributes.set(name, intAttribute(1 - intOf(node, name, 0)));
		removeUnused(before);
		turned = true;
	}
	return turned;
}

/** A value as seen through views that were folded, or why they cannot be. */
type Folded = { readonly value: Value } | Refusal;

/** Makes the constants and DequantizeLinear nodes that stand for weights behind views, each once. */
class Folding {
	readonly #names: NameScope;
	readonly #results: Map<Value, Map<string, Folded>> = new Map();
	/** Values that were made, and those that they may stand for. */
	readonly #made: Map<Value, Value> = new Map();
	readonly #madeNodes: Map<Node, Node> = new Map();

	constructor(model: Model) {
		this.#names = new NameScope(model);
	}

	/** A value with the contents of `value` that does not come out of a view. */
	fold(value: Value): Folded {
		const shape = shapeOf(value);
		if (shape === undefined) return NOT_SIMPLE;
		return this.#seen(value, identityView(shape.length));
	}

	/** Gives what was made the names of what is gone. */
	takeNames(): void {
		for (const [made, original] of this.#made) if (isGone(original)) made.name = original.name;
		for (const [made, original] of this.#madeNodes) if (original.graph === undefined) made.name = original.name;
	}

	/** Those sites, one a weight, whose weight stands in the model in two orders now. */
	copied(sites: readonly WeightSite[]): WeightSite[] {
		const originals = new Set(this.#made.values());
		const firsts = new Map(sites.toReversed().map((site) => [site.stored.value, site]));
		return [...firsts.values()].filter(({ stored }) => originals.has(stored.value) && !isGone(stored.value));
	}

	#seen(value: Value, view: View): Folded {
		const results = this.#results.get(value) ?? new Map<string, Folded>();
		this.#results.set(value, results);
		const key = view.join();
		const result = results.get(key) ?? this.#make(value, view);
		results.set(key, result);
		return result;
	}

	#make(value: Value, view: View): Folded {
		const constant = constantOf(value);
		if (constant !== undefined) return this.#makeConstant(constant, view);
		const { producer } = value;
		if (producer !== undefined && isOnnxOp(producer, "DequantizeLinear")) return this.#makeDequantized(producer, view);
		const source = producer?.inputs[0];
		const shape = source === undefined ? undefined : shapeOf(source);
		const own = shape && viewOf(producer!, shape);
		return own === undefined ? NOT_SIMPLE : this.#seen(source!, composed(own, view));
	}

	#makeConstant({ value, tensor, overridable }: Constant, view: View): Folded {
		if (isIdentity(view, tensor.shape.length)) return { value };
		if (overridable) return { code: "weight/overridable", message: `'${value.name}' is a graph input too` };
		const expected = rawByteLength(tensor.dtype, tensor.shape);
		if (tensor.data.byteLength !== expected) {
			const message = `'${value.name}' has ${tensor.data.byteLength} bytes, expected ${expected}`;
			return { code: "weight/data-length", message };
		}
		const name = this.#names.fresh(`${value.name}_folded`);
		return this.#record(value, addConstant(value.graph, name, viewedTensor(view, tensor), value.producer));
	}

	/** The scales of blocks have the axes of the weight; those of channels lie along one of them. */
	#makeDequantized(node: Node, view: View): Folded {
		const [output] = node.outputs;
		const rank = shapeOf(output!)!.length;
		const codes = this.#seen(node.inputs[0]!, view);
		if ("code" in codes) return codes;
		if (codes.value === node.inputs[0]) return { value: output! };
		const stored = intOf(node, "axis", 1);
		const axis = view.indexOf(stored < 0 ? stored + rank : stored);
		const isBlocked = intOf(node, "block_size", 0) !== 0;
		const isPerTensor = elementCount(shapeOf(node.inputs[1]!) ?? [0]) === 1;
		if (axis === -1 && !isPerTensor) return NOT_SIMPLE;
		const inputs = [codes.value];
		for (const input of node.inputs.slice(1)) {
			if (input === undefined) continue;
			const folded = isBlocked ? this.#seen(input, view) : { value: input };
			if ("code" in folded) return folded;
			inputs.push(folded.value);
		}
		const { graph } = output!;
		const result = graph.createValue(this.#names.fresh(`${output!.name}_folded`));
		const attributes = new Map(node.attributes);
		if (axis !== -1) attributes.set("axis", intAttribute(axis));
		const name = this.#names.fresh(`${node.name}_folded`);
		const made = graph.createNode({ op: node.op, name, inputs, outputs: [result], attributes }, node);
		for (const [key, text] of node.metadata) made.metadata.set(key, text);
		this.#madeNodes.set(made, node);
		return this.#record(output!, result);
	}

	#record(original: Value, made: Value): Folded {
		this.#made.set(made, original);
		return { value: made };
	}
}

const NOT_SIMPLE: Refusal = {
	code: "weight/indirect",
	message: "its effect cannot be put into the weight, expected only a new order of axes and axes of length 1",
};

/** The shape of a weight anywhere on its way from the constant to the operator; undefined where a step is not known. */
function shapeOf(value: Value): readonly number[] | undefined {
	const constant = constantOf(value);
	if (constant !== undefined) return constant.tensor.shape;
	const { producer } = value;
	const source = producer?.inputs[0];
	const shape = source === undefined ? undefined : shapeOf(source);
	if (shape === undefined || isOnnxOp(producer!, "DequantizeLinear")) return shape;
	const view = viewOf(producer!, shape);
	return view && viewShape(view, shape);
}

function isGone(value: Value): boolean {
	return value.producer === undefined && value.initializer === undefined;
}
