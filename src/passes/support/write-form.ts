import { intAttribute } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import type { Dequantization, WeightSite } from "../../weights/weight-site.js";
import { removeUnused } from "./remove-unused.js";
import type { WeightForm } from "./weight-form.js";

/** A weight with all places where it is read in the same way. */
export interface WeightGroup {
	readonly sites: readonly WeightSite[];
	/** One for each DequantizeLinear, in order. */
	readonly dequantizations: readonly Dequantization[];
}

/** Groups places whose weights are made of the same constants in the same way. */
export function groupSites(sites: readonly WeightSite[]): WeightGroup[] {
	const ids = new Map<unknown, number>();
	const id = (object: unknown) => ids.get(object) ?? ids.set(object, ids.size).size - 1;
	const groups = new Map<string, WeightSite[]>();
	for (const site of sites) {
		const { dequantization: { node, scaleNode, blockSize } = { node: undefined, scaleNode: undefined, blockSize: 0 } } =
			site;
		const inputs = [...(node?.inputs ?? []), ...(scaleNode?.inputs ?? [])].filter(
			(input) => input !== node?.inputs[1] || scaleNode === undefined,
		);
		const key = [...inputs.map(id), blockSize, site.axes?.blockAxis, site.axes?.channelAxis].join();
		groups.set(key, [...(groups.get(key) ?? []), site]);
	}
	return [...groups.values()].map((group) => ({
		sites: group,
		dequantizations: [...new Map(group.map(({ dequantization }) => [dequantization!.node, dequantization!])).values()],
	}));
}

/** Makes the operators of a group read `form` instead of `before`; what nobody reads any more goes, its names are taken over. */
export function writeForm(group: WeightGroup, before: WeightForm, form: WeightForm, names: NameScope): void {
	const { sites, dequantizations } = group;
	const [first] = dequantizations;
	const { weightName, stored } = sites[0]!;
	const home = { graph: stored.value.graph, before: stored.value.producer ?? first!.node };
	const taken: (readonly [made: { name: string }, old: Value | Node | undefined])[] = [];
	const constant = (old: Value | undefined, was: Tensor | undefined, now: Tensor, suffix: string): Value => {
		if (was === now && old !== undefined) return old;
		const made = addConstant(home.graph, names.fresh(`${weightName}${suffix}`), now, home.before);
		taken.push([made, old]);
		return made;
	};
	const oldScale = first!.scaleNode === undefined ? first!.scale?.value : undefined;
	const codes = constant(stored.value, before.codes, form.codes, "_legal");
	const scale = form.scale && constant(oldScale, before.scale, form.scale, "_scale");
	const integers =
		form.lpbq && constant(first!.scaleNode?.inputs[0], before.lpbq?.integers, form.lpbq.integers, "_block_scale");
	const zeroPoint =
		form.zeroPoint && constant(first!.zeroPoint?.value, before.zeroPoint, form.zeroPoint, "_zero_point");
	for (const { node, scaleNode } of dequantizations) {
		const graph = node.graph!;
		const product = integers === undefined ? scale! : graph.createValue(names.fresh(`${weightName}_scale_dq`));
		if (integers !== undefined) {
			const { op, inputs } = scaleNode!;
			const attributes = new Map(scaleNode!.attributes).set("axis", intAttribute(form.channelAxis));
			const name = names.fresh(`${weightName}_scale_DQ`);
			const made = graph.createNode(
				{ op, name, inputs: [integers, ...inputs.slice(1, 2)], outputs: [product], attributes },
				node,
			);
			taken.push([product, scaleNode!.outputs[0]], [made, scaleNode]);
		}
		const output = graph.createValue(names.fresh(`${weightName}_dq`));
		const attributes = new Map(node.attributes);
		attributes.set("axis", intAttribute(form.blockSize === 0 ? form.channelAxis : form.blockAxis));
		if (form.blockSize === 0) attributes.delete("block_size");
		else attributes.set("block_size", intAttribute(form.blockSize));
		// it says the type of the old scales
		if (form.scale !== undefined && form.scale.dtype !== before.scale?.dtype) attributes.delete("output_dtype");
		const inputs = zeroPoint === undefined ? [codes, product] : [codes, product, zeroPoint];
		const name = names.fresh(`${weightName}_DQ`);
		const made = graph.createNode({ op: node.op, name, inputs, outputs: [output], attributes }, node);
		taken.push([output, node.outputs[0]], [made, node]);
		for (const site of sites) {
			if (site.dequantization!.node !== node) continue;
			const old = site.node.inputs[site.input]!;
			site.node.setInput(site.input, output);
			removeUnused(old);
		}
	}
	const kept = new Set<Value | Node>();
	for (const [made, old] of taken) {
		if (old === undefined || kept.has(old) || !isGone(old)) continue;
		made.name = old.name;
		kept.add(old);
	}
}

function isGone(object: Value | Node): boolean {
	if ("op" in object) return object.graph === undefined;
	return object.producer === undefined && object.initializer === undefined;
}
