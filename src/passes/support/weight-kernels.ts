import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, dataTypeName, elementCount } from "../../ir/types.js";
import { HTP_CAPABILITIES, LARGEST_BLOCK_SCALE } from "../../targets/capabilities.js";
import { fp16Fault, isFloatBlockShape } from "../../targets/float-blocks.js";
import { isLpbqShape } from "../../targets/lpbq-blocks.js";
import type { Target } from "../../targets/target.js";
import { exactScales, isExact } from "../../targets/weight-facts.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { quantizerBehind } from "./activation-types.js";
import { lpbqFaults } from "./lpbq-faults.js";
import { encodingAt, encodingBehind } from "./qdq.js";
import type { WeightForm } from "./weight-form.js";

/** What the operators that read one weight take of blocks on a target. */
export class WeightKernels {
	readonly #sites: readonly WeightSite[];
	readonly #target: Target;
	readonly #lpbqFollows: boolean;

	/** @param lpbqFollows will symmetric INT4 blocks become LPBQ afterwards? */
	constructor(sites: readonly WeightSite[], target: Target, lpbqFollows: boolean) {
		this.#sites = sites;
		this.#target = target;
		this.#lpbqFollows = lpbqFollows;
	}

	/** Why the operators do not take blocks of such codes, whatever their size; undefined where they do. */
	operatorFault({ codes: { shape, dtype } }: WeightForm): string | undefined {
		for (const { node, input } of this.#sites) {
			if (isOnnxOp(node, "ConvTranspose")) return "ConvTranspose takes no blocks";
			if (isOnnxOp(node, "Conv")) {
				if (shape.length !== 4 || shape[2] !== 1 || shape[3] !== 1) return "only kernels of one position take blocks";
				if (intOf(node, "group", 1) !== 1) return "grouped Conv takes no blocks";
			} else {
				if (input === 0) return "the left operand takes no blocks";
				if (shape.slice(0, -2).some((dim) => dim !== 1)) return `the target computes blocks of shape [${shape}] wrong`;
			}
		}
		return dtype === DataType.INT4 || dtype === DataType.INT8 ? undefined : `no blocks of ${dataTypeName(dtype)}`;
	}

	/** Why the target does not compute the symmetric blocks of `form` right; undefined where it does. */
	fault(form: WeightForm): string | undefined {
		return this.operatorFault(form) ?? (form.lpbq === undefined ? this.#floatFault(form) : this.#lpbqFault(form));
	}

	/** May blocks be of `blockSize` with `depth` inputs? */
	takesShape(form: WeightForm, depth: number, blockSize: number): boolean {
		const isLpbq = form.lpbq !== undefined || this.#becomesLpbq(form);
		return isLpbq || !this.#hasFloatBlocks
			? isLpbqShape(depth, blockSize)
			: isFloatBlockShape(form.codes.dtype, depth, blockSize);
	}

	/** Will bq-to-lpbq find other scales for the float ones of `form`? */
	isFittedAnew(form: WeightForm): boolean {
		return this.#becomesLpbq(form) && !isExact(exactScales(form.scale!, form.channelAxis));
	}

	get #hasFloatBlocks(): boolean {
		return HTP_CAPABILITIES[this.#target.architecture].blockWeights;
	}

	#becomesLpbq({ codes: { shape, dtype } }: WeightForm): boolean {
		const isConv = this.#sites.some(({ node }) => isOnnxOp(node, "Conv"));
		return this.#lpbqFollows && dtype === DataType.INT4 && shape.length === (isConv ? 4 : 2);
	}

	#lpbqFault(form: WeightForm): string | undefined {
		const { shape, dtype } = form.codes;
		if (this.#sites.some(({ node }) => isOnnxOp(node, "Conv"))) return "Conv takes no LPBQ scales";
		if (shape.length !== 2) return `LPBQ is for matrices, not for shape [${shape}]`;
		if (dtype !== DataType.INT4) return `LPBQ is INT4, not ${dataTypeName(dtype)}`;
		if (shape[form.channelAxis] === 1) return "it has one output channel";
		return lpbqFaults(form, false) ?? (form.zeroPoint === undefined ? "it has no zero points" : this.#shapeFault(form));
	}

	#floatFault(form: WeightForm): string | undefined {
		const { codes, scale, channelAxis, blockAxis, blockSize } = form;
		const isConv = this.#sites.some(({ node }) => isOnnxOp(node, "Conv"));
		if (isConv && elementCount(scale!.shape) === 1) return "a convolution takes no single block";
		if (this.#becomesLpbq(form)) return this.#shapeFault(form) ?? this.#channelFault(codes, channelAxis);
		const scales = exactScales(scale!, channelAxis);
		const isLpbq = codes.dtype === DataType.INT4 && isExact(scales) && isLpbqShape(codes.shape[blockAxis]!, blockSize);
		if (isLpbq) return this.#channelFault(codes, channelAxis);
		if (!this.#hasFloatBlocks) return `${this.#target.architecture} takes no float block scales`;
		return this.#shapeFault(form) ?? this.#rangeFault(scale!, scales.channelScales, codes.dtype);
	}

	/** The HTP adds the bias wrong where LPBQ of a convolution has one channel. */
	#channelFault({ shape }: Tensor, channelAxis: number): string | undefined {
		const isBiased = this.#sites.some(({ node }) => isOnnxOp(node, "Conv") && node.inputs[2] !== undefined);
		return shape[channelAxis] === 1 && isBiased ? "it has one output channel and a bias" : undefined;
	}

	#shapeFault(form: WeightForm): string | undefined {
		const depth = form.codes.shape[form.blockAxis]!;
		if (this.takesShape(form, depth, form.blockSize)) return undefined;
		return `K = ${depth} in blocks of ${form.blockSize} is none that the target computes right`;
	}

	#rangeFault(scale: Tensor, channelScales: Float64Array, dtype: DataType): string | undefined {
		const largest = channelScales.reduce((a, b) => Math.max(a, b), 0) * LARGEST_BLOCK_SCALE;
		for (const { node, input } of this.#sites) {
			const before = encodingBehind(node.inputs[1 - input]);
			const end = quantizerBehind(node);
			const is8Bit = before !== undefined && bitsPerElement(before.dtype) === 8;
			if (is8Bit && isOnnxOp(node, "Conv")) return "float block scales are for 16-bit activations";
			const fault = fp16Fault(dtype, largest, before, end && encodingAt(end.node));
			if (fault !== undefined) return `the target computes float block scales in fp16: ${fault}`;
		}
		return scale.dtype === DataType.FLOAT ? undefined : `its scales are ${dataTypeName(scale.dtype)}`;
	}
}
