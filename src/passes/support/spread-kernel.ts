import { intsAttribute, intsOf, stringOf } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, elementCount } from "../../ir/types.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { addConstant } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import type { Remedy, Tools } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";

/** Elements up to which a kernel is written with what is between its taps. */
const LARGEST_SPREAD = 2 ** 26;

/** A Conv or ConvTranspose with dilations -> one without, of a larger kernel with zeros between the taps. */
export const spreadKernel: Remedy = (operator, tools) => enlargeKernel(operator, tools, []);

/** A ConvTranspose with output_padding -> one that cuts off as much less behind; zeros behind its kernel where it cuts less. */
export const cropLess: Remedy = (operator, tools) => {
	const { node } = operator;
	const paddings = intsOf(node, "output_padding");
	const given = intsOf(node, "pads");
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	if (auto !== "NOTSET" || node.attributes.has("output_shape")) return false;
	const pads = given.length === 0 ? paddings.concat(paddings).fill(0) : given;
	const cropped = paddings.map((padding, axis) => Math.min(padding, pads[axis + paddings.length]!));
	const missing = paddings.map((padding, axis) => padding - cropped[axis]!);
	if (missing.some((length) => length > 0) && !enlargeKernel(operator, tools, missing)) return false;
	const ends = cropped.map((amount, axis) => pads[axis + paddings.length]! - amount);
	node.attributes.set("pads", intsAttribute([...pads.slice(0, paddings.length), ...ends]));
	node.attributes.delete("output_padding");
	return true;
};

/** Writes a kernel without dilations, zeros between its taps, and as many as `behind` says behind them along each axis. */
function enlargeKernel(
	{ node, weight, graphSite }: OperatorFacts,
	{ names }: Tools,
	behind: readonly number[],
): boolean {
	const site = weight?.site;
	const dilations = intsOf(node, "dilations");
	if (site === undefined || site.input !== 1 || site.indirect !== undefined || site.stored.overridable) return false;
	const { stored, dequantization } = site;
	const { shape, dtype } = stored.tensor;
	const bits = bitsPerElement(dtype);
	const wide = shape.map((length, axis) =>
		axis < 2 ? length : (length - 1) * (dilations[axis - 2] ?? 1) + 1 + (behind[axis - 2] ?? 0),
	);
	const isBlock = (dequantization?.blockSize ?? 0) > 0 || dequantization?.scaleNode !== undefined;
	if (bits === undefined || bits < 8 || isBlock || elementCount(wide) > LARGEST_SPREAD) return false;
	const zeros = dequantization?.zeroPoint === undefined ? [0] : Array.from(numbersOf(dequantization.zeroPoint.tensor));
	if (zeros.some((zero) => zero !== zeros[0])) return false;
	const name = names.fresh(`${stored.value.name}_spread`);
	const constant = addConstant(graphSite.graph, name, spread(stored.tensor, wide, dilations, zeros[0]!), node);
	const before = node.inputs[1]!;
	if (dequantization === undefined) node.setInput(1, constant);
	else {
		const { graph } = graphSite;
		const made = graph.createValue(names.fresh(`${before.name}_spread`));
		const label = names.fresh(`${before.name}_spread_DQ`);
		const inputs = [constant, ...dequantization.node.inputs.slice(1)];
		const { attributes } = dequantization.node;
		graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made], attributes }, node);
		node.setInput(1, made);
	}
	node.attributes.delete("dilations");
	node.attributes.delete("kernel_shape");
	removeUnused(before);
	return true;
}

/** `stored`, [a, b, kernel...], with `fill` between what were neighbours in a kernel; of codes, `fill` is the zero point. */
function spread(
	{ dtype, shape, data }: Tensor,
	wide: readonly number[],
	dilations: readonly number[],
	fill: number,
): Tensor {
	const size = bitsPerElement(dtype)! / 8;
	const [small, large] = [elementCount(shape.slice(2)), elementCount(wide.slice(2))];
	const places = Array.from({ length: small }, (_, at) => {
		let [rest, place, step] = [at, 0, 1];
		for (let axis = shape.length - 1; axis >= 2; axis--) {
			place += (rest % shape[axis]!) * (dilations[axis - 2] ?? 1) * step;
			rest = Math.floor(rest / shape[axis]!);
			step *= wide[axis]!;
		}
		return place;
	});
	const bytes = computedData(elementCount(wide) * size, (start, end) => {
		const first = Math.floor(start / (large * size));
		const last = Math.ceil(end / (large * size));
		const source = data.read(first * small * size, last * small * size);
		const rows = new Uint8Array((last - first) * large * size);
		if (fill !== 0) for (let at = 0; at < rows.length; at++) rows[at] = (fill >> (8 * (at % size))) & 0xff;
		for (let row = 0; row < last - first; row++) {
			for (const [at, place] of places.entries()) {
				const from = (row * small + at) * size;
				rows.set(source.subarray(from, from + size), (row * large + place) * size);
			}
		}
		return rows.subarray(start - first * large * size, end - first * large * size);
	});
	return tensor(dtype, wide, bytes);
}
