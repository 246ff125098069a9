import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { tensor } from "../ir/tensor.js";
import { bitsPerElement, DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { nodeLabel } from "../ir/walk.js";
import { intervalOf } from "../quant/grid.js";
import { type ErrorSum, errorSum } from "../quant/measure.js";
import { STEPS_OF_LARGEST, splitScale } from "../quant/split-scales.js";
import { LARGEST_BLOCK_SCALE } from "../targets/capabilities.js";
import { quantizerBehind } from "../targets/readers.js";
import { exactScales, isExact } from "../targets/weight-facts.js";
import { addConstant } from "../weights/constant.js";
import { findWeightSites, isSymmetric, type WeightSite } from "../weights/weight-site.js";
import { definePass } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import { slabRanges } from "./support/block-weight.js";
import type { Refusal } from "./support/eligibility.js";
import { formScales, formValues } from "./support/form-values.js";
import { addQdq, coveringEncoding, type Encoding, encodingAt, encodingBehind } from "./support/qdq.js";
import { replaceValue } from "./support/replace-value.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { slabNumbers } from "./support/slab-numbers.js";
import { decibels, describeSite, lossText } from "./support/weight-entry.js";
import { formOf, layoutOf, type WeightForm } from "./support/weight-form.js";
import { groupSites, type WeightGroup, writeForm } from "./support/write-form.js";

/**
 * `op(x, W_DQ(int4, s)) -> Q` -> `Add(DQ(Q(op(x, W_DQ(int4, s1)))), DQ(Q(op(x, W_DQ(int4, s2))))) -> Q`, the same codes with
 * block scales s1 + s2 that are both LPBQ's: integers from 1 to 16 times a scale of the channel (quant/split-scales.ts).
 * For MatMul and Conv between quantizers of 16 bits: with 8, these lose more than the block scales.
 */
export const splitBlockScales = definePass<SelectionOptions>({
	name: "split-block-scales",
	summary: "Write operators with int4 block-quantized weights as sums of two with LPBQ scales, which keep the codes.",
	options: SELECTION_OPTIONS,
	run(model, context) {
		const names = new NameScope(model);
		const keep = (site: WeightSite, { code, message }: Refusal) => {
			const at = { graph: site.graphSite.path, node: nodeLabel(site.node), value: site.weightName };
			context.report(code, message, at);
		};
		const sites = findWeightSites(model).filter(({ scheme, bits }) => scheme === "block" && bits === 4);
		const selected = sites.filter((site) => isSelected(site, context.options));
		for (const site of sites) if (!selected.includes(site)) keep(site, exclusionOf(site));
		let changed = false;
		for (const group of groupSites(selected)) {
			const form = formOf(group.sites[0]!);
			const refusal = "code" in form ? form : (scalesRefusal(form, group.sites[0]!) ?? operatorRefusal(group.sites));
			if ("code" in form || refusal !== undefined) {
				for (const site of group.sites) keep(site, refusal!);
				continue;
			}
			const [first, second] = splitForm(form);
			const loss = lossOf(form, first, second);
			const sqnrDb = decibels(loss);
			for (const site of group.sites) {
				const message = `weight '${site.weightName}' became the sum of two with the same codes and LPBQ scales, ${lossText(loss)}`;
				keep(site, { code: "weight/split", message });
				const entry = { ...describeSite(site), status: "converted", code: "weight/split", message } as const;
				context.reportWeight({ ...entry, form: "bq", sqnrDb, requantizedSqnrDb: sqnrDb, reference: "bq" });
			}
			const copies = dequantizeCopy(group, second, names);
			for (const site of group.sites) addSecond(model, site, copies.get(site.dequantization!.node)!, names);
			writeForm(group, form, first, names);
			context.count("weights split");
			changed = true;
		}
		if (changed) refreshAnnotations(model);
		return changed;
	},
});

function scalesRefusal({ codes, scale, channelAxis }: WeightForm, site: WeightSite): Refusal | undefined {
	const { weightName, dequantization } = site;
	if (codes.dtype !== DataType.INT4 || !isSymmetric(dequantization!)) {
		return { code: "weight/zero-point", message: `weight '${weightName}' is not INT4 with zero points of 0` };
	}
	const scales = exactScales(scale!, channelAxis);
	if (scales.improper > 0) {
		const message = `weight '${weightName}' has ${scales.improper} block scales that are not positive, expected none`;
		return { code: "split/scales", message };
	}
	if (!isExact(scales)) return undefined;
	const message = `the scales of weight '${weightName}' are integers times a channel scale already`;
	return { code: "lpbq/already", message };
}

function operatorRefusal(sites: readonly WeightSite[]): Refusal | undefined {
	for (const { node, input, weightName } of sites) {
		if (!isOnnxOp(node, "MatMul", "Conv") || input !== 1) {
			const message = `weight '${weightName}' is used by ${node.op.type}, expected MatMul or Conv and the second operand`;
			return { code: "weight/operator", message };
		}
		for (const encoding of [encodingBehind(node.inputs[0]), resultEncoding(node)]) {
			if (encoding !== undefined && bitsPerElement(encoding.dtype) === 16) continue;
			const message = `'${nodeLabel(node)}' is not between quantizers of 16 bits, whose steps are finer than what is split off`;
			return { code: "split/activations", message };
		}
	}
	return undefined;
}

function resultEncoding(node: Node): Encoding | undefined {
	const quantizer = quantizerBehind(node.outputs[0]!);
	return quantizer && encodingAt(quantizer);
}

/** The same codes with each of the two scales that every block scale is the sum of. */
function splitForm(form: WeightForm): readonly [first: WeightForm, second: WeightForm] {
	const layout = layoutOf(form);
	const largest = exactScales(form.scale!, form.channelAxis).channelScales;
	const steps = largest.map((scale) => (scale * LARGEST_BLOCK_SCALE) / STEPS_OF_LARGEST);
	const part = (which: 0 | 1): WeightForm => {
		const data = slabNumbers(layout, Float32Array, (range) =>
			formScales(form, range).map((scale, index) => {
				const slab = range.first + Math.floor(index / (layout.channels * layout.spatial));
				const column = Math.floor((index % (layout.channels * layout.spatial)) / layout.spatial);
				const channel = Math.floor(slab / layout.blocks) * layout.channels + column;
				return splitScale(scale, steps[channel]!)[which];
			}),
		);
		return { ...form, scale: tensor(DataType.FLOAT, form.scale!.shape, data) };
	};
	return [part(0), part(1)];
}

function lossOf(form: WeightForm, first: WeightForm, second: WeightForm): ErrorSum {
	const total = { signal: 0, error: 0 };
	for (const range of slabRanges(layoutOf(form))) {
		const rest = formValues(second, range);
		const sum = formValues(first, range).map((value, index) => value + rest[index]!);
		const { signal, error } = errorSum(formValues(form, range), sum);
		total.signal += signal;
		total.error += error;
	}
	return total;
}

/** A DequantizeLinear of its own codes for every one of the group: the compiler reads codes in one encoding only. */
function dequantizeCopy({ sites, dequantizations }: WeightGroup, form: WeightForm, names: NameScope): Map<Node, Value> {
	const { stored, weightName } = sites[0]!;
	const before = stored.value.producer ?? dequantizations[0]!.node;
	const { graph } = stored.value;
	const codes = addConstant(graph, names.fresh(`${weightName}_fine`), form.codes, before);
	const scale = addConstant(graph, names.fresh(`${weightName}_fine_scale`), form.scale!, before);
	return new Map(
		dequantizations.map(({ node }) => {
			const made = node.graph!.createValue(names.fresh(`${weightName}_fine_dq`));
			const inputs = [codes, scale, ...node.inputs.slice(2)];
			const { op, attributes } = node;
			const name = names.fresh(`${weightName}_fine_DQ`);
			node.graph!.createNode({ op, name, inputs, outputs: [made], attributes: new Map(attributes) }, node);
			return [node, made];
		}),
	);
}

/**
 * `op(x, W, bias)` -> `Add(Q/DQ(op(x, W, bias)), Q/DQ(op(x, fine)))`. The second product is taken to be within half of what
 * the result can be, in steps as fine; the first may be beyond the result by as much, which matters where a clamp is in the
 * quantizer.
 */
function addSecond(model: Model, { node }: WeightSite, fine: Value, names: NameScope): void {
	const graph = node.graph!;
	const output = node.outputs[0]!;
	const { dtype, ...grid } = resultEncoding(node)!;
	const { lo, hi } = intervalOf(grid);
	const half = Math.max(-lo, hi) / 2;
	const before = node.next;
	const { name } = output;
	const sum = graph.createValue(names.fresh(`${name}_sum`), output.type);
	replaceValue(model, output, sum, names.fresh(`${name}_coarse`));
	const rest = graph.createValue(names.fresh(`${name}_fine`), output.type);
	const { op, attributes } = node;
	const spec = { op, inputs: [node.inputs[0], fine], outputs: [rest], attributes: new Map(attributes) };
	graph.createNode({ ...spec, name: names.fresh(`${node.name}_fine`) }, before);
	const coarse = coveringEncoding(dtype, { lo: lo - half, hi: hi + half });
	const addends = [
		addQdq(graph, output, coarse, names, before),
		addQdq(graph, rest, coveringEncoding(dtype, { lo: -half, hi: half }), names, before),
	];
	graph.createNode({ op: "Add", name: names.fresh(`${name}_Add`), inputs: addends, outputs: [sum] }, before);
}
