import { intOf, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import { fixedShape } from "../fixed-shape.js";
import { fusedPads } from "../fused-pad.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { isFolded } from "./known-value.js";
import { ELEMENTWISE, sourceOf } from "./producers.js";

/** Does the operator read floats, and not codes on both sides? */
function isOnFloats({ inputs, outputs }: OperatorFacts): boolean {
	return inputs[0]?.quantization === undefined || outputs[0]?.quantization === undefined;
}

/** Pads of one axis: in front and behind. */
interface Pads {
	readonly begin: number;
	readonly end: number;
}

/** By spatial axis; those of a Pad in front, which become the pool's, too. */
function padsOf({ node, inputs }: OperatorFacts): readonly Pads[] | undefined {
	const shape = fixedShape(inputs[0]?.shape)?.slice(2);
	const kernel = intsOf(node, "kernel_shape");
	if (shape === undefined || kernel.length !== shape.length) return undefined;
	const [strides, given] = [intsOf(node, "strides"), intsOf(node, "pads")];
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	const fused = fusedPads(node);
	return shape.map((length, axis) => {
		const stride = strides[axis] ?? 1;
		const same = Math.max(0, (Math.ceil(length / stride) - 1) * stride + kernel[axis]! - length);
		const small = Math.floor(same / 2);
		if (auto === "SAME_UPPER") return { begin: small, end: same - small };
		if (auto === "SAME_LOWER") return { begin: same - small, end: small };
		const at = (index: number) => (given[index] ?? 0) + (fused?.[index] ?? 0);
		return { begin: at(axis), end: at(axis + shape.length) };
	});
}

/** Does the operator look for an extreme along exactly the last two axes, of which the last has one element and the other more? */
function isLineOfColumns({ node, inputs: [input] }: OperatorFacts): boolean {
	const shape = fixedShape(input?.shape);
	const stated = constantOf(node.inputs[1])?.tensor;
	const axes = stated === undefined ? intsOf(node, "axes") : numbersOf(stated);
	if (shape === undefined || shape.length < 2 || shape.at(-1) !== 1 || shape.at(-2)! < 2) return false;
	const reduced = new Set(Array.from(axes, (axis) => (axis < 0 ? axis + shape.length : axis)));
	const isAll = reduced.size === 0 && shape.length === 2 && node.inputs[1] === undefined;
	return isAll || (reduced.size === 2 && reduced.has(shape.length - 1) && reduced.has(shape.length - 2));
}

/** What is wrong of an AveragePool. */
function wrongAverage(operator: OperatorFacts): string | undefined {
	const { node, inputs } = operator;
	if (!isOnnxOp(node, "AveragePool")) return undefined;
	const kernel = intsOf(node, "kernel_shape");
	const isFloat = isOnFloats(operator);
	const countsPads = intOf(node, "count_include_pad", 0) === 1 || fusedPads(node) !== undefined;
	for (const [axis, { begin, end }] of padsOf(operator)?.entries() ?? []) {
		const size = kernel[axis]!;
		if (begin + end === 0) continue;
		if (size === 3 && !countsPads && Math.max(begin, end) >= 2) return "it pads by 2 in front of a kernel of 3";
		if (size % 2 === 0 && (countsPads || isFloat)) return `it pads in front of a kernel of ${size}`;
		if (isFloat && !countsPads && begin !== end) return `it pads by ${begin} on one side and ${end} on the other`;
		if (isFloat && countsPads && inputs[0]?.shape?.[1] === 1) return "it counts pads, of one channel";
	}
	return undefined;
}

/** Operators between whose results and an AveragePool a Pad is computed wrong. */
const PADDED: readonly string[] = [
	"Conv",
	"ConvTranspose",
	"MaxPool",
	"AveragePool",
	"Resize",
	"BatchNormalization",
	"InstanceNormalization",
];

export const POOL_RULES: RuleGroup = {
	title: "Pools",
	rules: [
		{
			id: "htp/average-pads",
			about:
				"On floats an AveragePool that leaves pads out of the average has as many of them behind as in front, and an odd kernel where it pads; one that counts pads, as ONNX Runtime makes of a Pad in front, has an odd kernel and more than one channel; one that does not has no pads of 2 with a kernel of 3.",
			consequence: "wrong",
			measured:
				"on floats 8 to 13 dB with pads on one side only, 60 to 71 dB with as many on both and where they count; -1 dB with a kernel of 2 and pads of 1, or a Pad in front; 0 dB where pads count and there is one channel; between UINT16 -1 dB where the pads count too; 0 and -13 dB with a kernel of 3 and pads of 2; right with a kernel of 5 and pads up to 4, and with kernels of 3 and pads of 1",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator) {
				const what = isFolded(operator.node) ? undefined : wrongAverage(operator);
				return what && `AveragePool is computed wrong: ${what}`;
			},
		},
		{
			id: "htp/pad-average",
			about:
				"Between codes, an AveragePool with a kernel of even size does not read what a Pad makes of the result of a convolution, pool, Resize or of a normalization with statistics.",
			consequence: "wrong",
			measured:
				"4 to 17 dB with kernels of 2 and 4 and any pads, on v68, v73 and v79, with other operators on single elements in between too; 65 to 74 dB with kernels of 3 and 5, and of graph inputs, LayerNormalization, Transpose and Concat; MaxPool and Conv behind a Pad are right",
			remedy: "write the pool as a Conv of each channel",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, outputs } = operator;
				if (!isOnnxOp(node, "AveragePool") || isOnFloats(operator) || outputs[0] === undefined) return undefined;
				const even = intsOf(node, "kernel_shape").find((size) => size % 2 === 0);
				const pad = sourceOf(inputs[0]?.value, []);
				if (even === undefined || pad === undefined || !isOnnxOp(pad, "Pad")) return undefined;
				const source = sourceOf(pad.inputs[0], ELEMENTWISE);
				if (source === undefined || !isOnnxOp(source, ...PADDED)) return undefined;
				return `its kernel is ${even}, behind Pad '${nodeLabel(pad)}' of what ${source.op.type} makes`;
			},
		},
		{
			id: "htp/lp-pool-pads",
			about: "An LpPool has no pads.",
			consequence: "wrong",
			measured:
				"7 dB with pads of 1 on both sides or in front; with pads behind, and of 2, the compiler's process ends where the image is larger, 32 x 32; right without, 68 to 71 dB",
			remedy: "put a Pad in front",
			appliedBy: "legalize-operators",
			broken(operator) {
				if (!isOnnxOp(operator.node, "LpPool") || isFolded(operator.node)) return undefined;
				const found = padsOf(operator)?.find(({ begin, end }) => begin + end > 0);
				return found && `LpPool pads by ${found.begin} in front and ${found.end} behind`;
			},
		},
		{
			id: "htp/reduce-column",
			about:
				"No ReduceMax or ReduceMin of codes goes over just the last two axes where the last has one element and the other more.",
			consequence: "wrong",
			measured:
				"-30 to -13 dB with [1, 1, 4, 1], [1, 3, 33, 1], [1, 4, 1], [4, 1], with UINT16, INT16 and UINT8, keepdims or not, on every architecture; right with [1, 3, 1, 6], over one of both axes, over a third one too, on floats, and for ReduceMean, ReduceSum and ReduceL2",
			remedy: "put a Reshape in front that exchanges both lengths",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				if (!isOnnxOp(node, "ReduceMax", "ReduceMin") || inputs[0]?.quantization === undefined) return undefined;
				return isLineOfColumns(operator) ? `its input is [${inputs[0].shape!.join(", ")}]` : undefined;
			},
		},
	],
};
