import { everyPiece, readAll } from "../../ir/data.js";
import { DataType } from "../../ir/types.js";
import { MAX_BLOCK_SCALE_INT } from "../../quant/lpbq.js";
import { constantOf } from "../../weights/constant.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { formOf, type WeightForm } from "./weight-form.js";

/** Smallest normal float32. */
const SMALLEST_NORMAL = 2 ** -126;

/**
 * What the HTP computes wrong about LPBQ scales; undefined where it is right. `needsLargest`: the reader finds the channel
 * scale again as the largest block scale / 16, so that every channel must have the integer 16.
 */
export function lpbqFaults(form: WeightForm, needsLargest: boolean): string | undefined {
	const { integers, channelScales } = form.lpbq!;
	const largest = largestIntegers(form);
	if (largest.some((integer) => integer > MAX_BLOCK_SCALE_INT)) {
		return `its integer scales reach ${largest.reduce((a, b) => Math.max(a, b), 0)}, expected at most ${MAX_BLOCK_SCALE_INT}`;
	}
	const scales = new Float32Array(Uint8Array.from(readAll(channelScales.data)).buffer);
	if (scales.some((scale) => !(scale >= SMALLEST_NORMAL) || scale === Number.POSITIVE_INFINITY)) {
		return "a channel scale is 0, negative or no normal number";
	}
	if (needsLargest && largest.some((integer) => integer !== MAX_BLOCK_SCALE_INT)) {
		return `a channel's largest integer scale is not ${MAX_BLOCK_SCALE_INT} (${integers.shape.join("x")} integers)`;
	}
	return undefined;
}

/** What is odd about a weight that has LPBQ scales; undefined where nothing is, and where it is not looked at. */
export function malformation(site: WeightSite): string | undefined {
	const { weightName, indirect, dequantization } = site;
	const channelScales = constantOf(dequantization?.scaleNode?.inputs[1])?.tensor;
	if (indirect !== undefined || channelScales?.dtype === DataType.FLOAT16) return undefined;
	const form = formOf(site);
	if ("code" in form) return form.message;
	const fault = lpbqFaults(form, false);
	return fault && `weight '${weightName}' is LPBQ, but ${fault}`;
}

/** Of each channel. */
function largestIntegers({ lpbq, channelAxis }: WeightForm): Uint8Array {
	const { shape, data } = lpbq!.integers;
	const largest = new Uint8Array(shape[channelAxis]!);
	const inner = shape.slice(channelAxis + 1).reduce((product, dim) => product * dim, 1);
	everyPiece(data, (bytes, at) => {
		for (let index = 0; index < bytes.length; index++) {
			const channel = Math.floor((at + index) / inner) % largest.length;
			if (bytes[index]! > largest[channel]!) largest[channel] = bytes[index]!;
		}
		return true;
	});
	return largest;
}
