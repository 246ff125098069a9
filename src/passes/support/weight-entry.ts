import { dataTypeName } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import { type ErrorSum, sqnrDb } from "../../quant/measure.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { WeightEntry } from "../infra/report.js";

/** What a report says of a weight at one place, whatever became of it. */
export function describeSite(site: WeightSite): Omit<WeightEntry, "status" | "code" | "message"> {
	const { dequantization, axes } = site;
	return {
		weight: site.weightName,
		node: nodeLabel(site.node),
		op: site.node.op.type,
		graph: site.graphSite.path,
		shape: site.stored.tensor.shape,
		dtype: dataTypeName(site.stored.tensor.dtype),
		bits: site.bits,
		scheme: site.scheme,
		...(dequantization === undefined || dequantization.blockSize === 0 ? {} : { blockSize: dequantization.blockSize }),
		...(axes === undefined ? {} : { blockAxis: axes.blockAxis, channelAxis: axes.channelAxis }),
	};
}

/** Signal to noise as reports have it; null where there is no noise. */
export function decibels({ signal, error }: ErrorSum): number | null {
	const value = sqnrDb(signal, error);
	return Number.isFinite(value) ? value : null;
}

/** What a new form of a weight costs, in words. */
export function lossText(error: ErrorSum): string {
	const value = decibels(error);
	return value === null ? "without loss" : `at ${value.toFixed(1)} dB`;
}

/** The entry of a weight that `site` reads in symmetric 4 bits now, which was something else before. */
export function requantizedEntry(site: WeightSite, error: ErrorSum): WeightEntry {
	const sqnrDb = decibels(error);
	return {
		...describeSite(site),
		status: "converted",
		code: "weight/requantized",
		message: `weight '${site.weightName}' was quantized anew, symmetric and 4-bit, ${lossText(error)}`,
		form: "bq",
		sqnrDb,
		requantizedSqnrDb: sqnrDb,
		reference: "bq",
	};
}
