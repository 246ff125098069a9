import { DataType, elementCount } from "../../ir/types.js";
import { type WeightAxes, weightAxes } from "../../weights/weight-axes.js";
import { schemeOf, type WeightSite } from "../../weights/weight-site.js";
import type { Refusal } from "./eligibility.js";
import { withSignedCodes } from "./legal-form.js";
import type { SeenScales, WeightViewer } from "./seen-weight.js";
import type { WeightForm } from "./weight-form.js";
import { zeroPointKind } from "./zero-points.js";

/** A weight as it would be in the one form that passes take: `DequantizeLinear(codes, scales)` in front of its operator. */
export interface NormalWeight {
	/** The place with the weight in that form. Its constants are not in the model unless they were before. */
	readonly site: WeightSite;
	/** What is to be written; undefined where the weight is as it should be. */
	readonly form: WeightForm | undefined;
	/** What has to be done, in words. */
	readonly steps: readonly string[];
	/** Does the form have zero points that only quantizing anew takes away? The site shows the result. */
	readonly requantizes: boolean;
	/** The same for weights that are made of the same constants in the same way. */
	readonly key: string;
}

/**
 * The normal form of the quantized weight at `site`, with operators between constants looked through, UINT4 codes with zero
 * point 8 as INT4 and one block of more than all rows as one of just as many. undefined for float weights and for those that
 * nothing stands in front of but that are odd otherwise. A refusal says what cannot be looked through.
 *
 * @param requantize make asymmetric 4-bit weights symmetric, too.
 */
export function normalWeight(
	site: WeightSite,
	viewer: WeightViewer,
	requantize: boolean,
): NormalWeight | Refusal | undefined {
	const { dequantization, node, input, stored } = site;
	const value = node.inputs[input];
	if (dequantization === undefined || value === undefined || stored.overridable) return undefined;
	const seen = viewer.at(value);
	if ("code" in seen) return site.indirect === undefined ? undefined : seen;
	const { scales, codes, key } = seen;
	const axes = weightAxes(node, input, codes.shape.length);
	if (scales === undefined) return undefined;
	const steps = stepsOf(site);
	const found = { codes, scales, axes };
	let form = formOf(found);
	if (form !== undefined && fillsOneBlock(form)) {
		form = { ...form, blockSize: codes.shape[form.blockAxis]! };
		steps.push(`its only block was said to have ${scales.blockSize} rows`);
	}
	const kind = form === undefined || !isFourBit(form) ? "zero" : zeroPointKind(form);
	if (form !== undefined && kind === "middle") {
		const signed = withSignedCodes(form);
		// the HTP takes INT4 with one scale a channel for INT8 where it has no zero points
		form = form.blockSize === 0 ? signed : { ...signed, zeroPoint: undefined };
		steps.push("its UINT4 codes with zero point 8 became INT4");
	}
	const requantizes = kind === "mixed" && requantize && scales.blockSize !== 0;
	const shown = form === undefined ? found : { codes: form.codes, scales: scalesOf(scales, form), axes };
	return {
		site: siteAs(site, shown, requantizes),
		form: steps.length === 0 && !requantizes ? undefined : form,
		steps,
		requantizes,
		key: `${key},${axes?.blockAxis},${axes?.channelAxis}`,
	};
}

interface Found {
	readonly codes: WeightForm["codes"];
	readonly scales: SeenScales;
	readonly axes: WeightAxes | undefined;
}

function stepsOf({ indirect, dequantization }: WeightSite): string[] {
	if (indirect !== undefined) return [`${indirect.op.type} in front of it was done in advance`];
	const scale = dequantization?.scale ?? dequantization?.scaleNode;
	return scale === undefined ? ["what makes its scales was done in advance"] : [];
}

/** The form to write; undefined where axes and shapes do not fit together, so that nothing is. */
function formOf({ codes, scales, axes }: Found): WeightForm | undefined {
	const { scale, lpbq, zeroPoint, axis, blockSize } = scales;
	if (axes === undefined || elementCount(codes.shape) === 0 || blockSize < 0) return undefined;
	const shape = (lpbq?.integers ?? scale).shape.join();
	const blocks = codes.shape.map((dim, index) => (index === axis && blockSize > 0 ? Math.ceil(dim / blockSize) : dim));
	const fits =
		blockSize > 0
			? axis === axes.blockAxis && shape === blocks.join()
			: axis === axes.channelAxis && shape === String(codes.shape[axes.channelAxis]);
	if (!fits || (zeroPoint !== undefined && (zeroPoint.shape.join() !== shape || zeroPoint.dtype !== codes.dtype))) {
		return undefined;
	}
	if (lpbq !== undefined && lpbq.axis !== axes.channelAxis) return undefined;
	return {
		codes,
		...axes,
		blockSize,
		scale: lpbq === undefined ? scale : undefined,
		lpbq: lpbq && { integers: lpbq.integers, channelScales: scale },
		zeroPoint,
	};
}

function isFourBit({ codes, lpbq }: WeightForm): boolean {
	return lpbq === undefined && (codes.dtype === DataType.INT4 || codes.dtype === DataType.UINT4);
}

/** Is there one block, said to be longer than the axis? */
function fillsOneBlock({ codes, blockAxis, blockSize }: WeightForm): boolean {
	return blockSize > codes.shape[blockAxis]!;
}

function scalesOf(scales: SeenScales, form: WeightForm): SeenScales {
	return { ...scales, blockSize: form.blockSize, zeroPoint: form.zeroPoint };
}

/** `site` as if it read the weight in this form; quantized anew, as if it were INT4 without zero points. */
function siteAs(site: WeightSite, { codes, scales, axes }: Found, requantizes: boolean): WeightSite {
	const { value } = site.stored;
	const constant = (tensor: WeightForm["codes"]) => ({ value, tensor, overridable: false });
	const shown = constant(requantizes ? { ...codes, dtype: DataType.INT4 } : codes);
	const zeroPoint = requantizes ? undefined : scales.zeroPoint;
	const dequantization = {
		...site.dequantization!,
		codes: shown,
		scale: scales.lpbq === undefined ? constant(scales.scale) : undefined,
		zeroPoint: zeroPoint && constant(zeroPoint),
		hasZeroPoint: zeroPoint !== undefined,
		axis: scales.axis,
		blockSize: scales.blockSize,
	};
	return { ...site, stored: shown, dequantization, scheme: schemeOf(dequantization), axes, indirect: undefined };
}
