import { intOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import type { Node } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import { hasIntegerActivations } from "../../weights/activation.js";
import { findWeightSites, isSymmetric, type WeightScheme, type WeightSite } from "../../weights/weight-site.js";
import { type Refusal, refusalOf } from "./eligibility.js";
import { findNBitsSites, type NBitsSite } from "./nbits-form.js";
import { hasMiddleZeroPoints, packedRefusalOf } from "./nbits-tensors.js";
import { normalWeight } from "./normal-weight.js";
import { WeightViewer } from "./seen-weight.js";
import { storedScaleFacts } from "./stored-scales.js";

/** What `annotate-block-quant` found out about the weight of an operator. */
export interface WeightAnnotation {
	/** Name of the constant that holds the weight. */
	readonly weight: string;
	/** The operator's input that reads it. */
	readonly input: number;
	readonly scheme: WeightScheme;
	/** Element type as stored, such as INT4. */
	readonly dtype: string;
	readonly bits: number;
	readonly shape: readonly number[];
	/** The axis that the operator sums over and that blocks divide. */
	readonly blockAxis: number | undefined;
	/** The axis of the output channels. */
	readonly channelAxis: number | undefined;
	/** Elements that share one scale; 0 where scales are not blocked. */
	readonly blockSize: number;
	readonly symmetric: boolean;
	/** Blocks whose scale is negative, as ONNX Runtime's symmetric quantizer makes them; undefined where scales are not blocked. */
	readonly negativeScales: number | undefined;
	/** Are the operator's input and output quantized? */
	readonly activations: "integer" | "float";
	/** Could `bq-to-lpbq` convert it with its default options: a diagnostic code, `weight/converted` for yes. */
	readonly lpbq: string;
}

const PREFIX = "qgraph.weight.";

/** Writes the annotation into `node.annotations`; says whether that changed anything. */
export function annotate(node: Node, annotation: WeightAnnotation): boolean {
	const before = JSON.stringify([...node.annotations]);
	for (const key of [...node.annotations.keys()]) if (key.startsWith(PREFIX)) node.annotations.delete(key);
	for (const [key, value] of Object.entries(annotation)) {
		if (value === undefined) continue;
		node.annotations.set(PREFIX + key, Array.isArray(value) ? value.join("x") : String(value));
	}
	return JSON.stringify([...node.annotations]) !== before;
}

/** The annotation of `node`'s weight; undefined where the pass found none or did not run. */
export function weightAnnotation(node: Node): WeightAnnotation | undefined {
	const get = (key: keyof WeightAnnotation) => node.annotations.get(PREFIX + key) ?? node.metadata.get(PREFIX + key);
	const weight = get("weight");
	if (weight === undefined) return undefined;
	const number = (key: keyof WeightAnnotation) => {
		const text = get(key);
		return text === undefined ? undefined : Number(text);
	};
	return {
		weight,
		input: number("input") ?? 1,
		scheme: get("scheme") as WeightScheme,
		dtype: get("dtype") ?? "",
		bits: number("bits") ?? 0,
		shape: (get("shape") ?? "").split("x").filter(Boolean).map(Number),
		blockAxis: number("blockAxis"),
		channelAxis: number("channelAxis"),
		blockSize: number("blockSize") ?? 0,
		symmetric: get("symmetric") === "true",
		negativeScales: number("negativeScales"),
		activations: get("activations") === "integer" ? "integer" : "float",
		lpbq: get("lpbq") ?? "",
	};
}

/** The keys under which an annotation is kept, on nodes and in files. */
export function isAnnotationKey(key: string): boolean {
	return key.startsWith(PREFIX);
}

/** What is to be said of the weight at `site`, and why it cannot become LPBQ, if so. Reads its scales and zero points. */
export function annotationOf(site: WeightSite): { annotation: WeightAnnotation; refusal: Refusal | undefined } {
	const { dequantization, axes } = site;
	const scales = storedScaleFacts(site);
	const refusal =
		scales?.finite === false
			? {
					code: "weight/scale-not-finite" as const,
					message: `a scale of weight '${site.weightName}' is infinite or not a number`,
				}
			: lpbqRefusal(site);
	const annotation: WeightAnnotation = {
		weight: site.weightName,
		input: site.input,
		scheme: site.scheme,
		dtype: dataTypeName(site.stored.tensor.dtype),
		bits: site.bits,
		shape: site.stored.tensor.shape,
		blockAxis: axes?.blockAxis,
		channelAxis: axes?.channelAxis,
		blockSize: dequantization?.blockSize ?? 0,
		symmetric: dequantization === undefined || isSymmetric(dequantization),
		negativeScales: scales?.negative,
		activations: site.activations,
		lpbq: refusal?.code ?? "weight/converted",
	};
	return { annotation, refusal };
}

/** Annotates the weight at `site`. */
export function annotateSite(site: WeightSite): void {
	annotate(site.node, annotationOf(site).annotation);
}

/** Why `bq-to-lpbq` leaves the weight alone. */
function lpbqRefusal(site: WeightSite): Refusal | undefined {
	const normal = normalWeight(site, new WeightViewer(), false);
	if (normal === undefined) return refusalOf(site, "integer");
	return "code" in normal ? normal : refusalOf(normal.site, "integer");
}

/** The same of a weight that is packed for MatMulNBits. Reads its zero points. */
export function packedAnnotationOf(site: NBitsSite): { annotation: WeightAnnotation; refusal: Refusal } {
	const { node, weightName, form } = site;
	const refusal = packedRefusalOf(site);
	const known = "code" in form ? undefined : form;
	const annotation: WeightAnnotation = {
		weight: weightName,
		input: 1,
		scheme: "block",
		dtype: dataTypeName(DataType.UINT8),
		bits: known?.bits ?? intOf(node, "bits", 4),
		shape: known === undefined ? [] : [known.depth, known.channels],
		blockAxis: 0,
		channelAxis: 1,
		blockSize: known?.blockSize ?? 0,
		symmetric: known !== undefined && hasMiddleZeroPoints(known),
		negativeScales: undefined,
		activations: hasIntegerActivations(node, 0) ? "integer" : "float",
		lpbq: refusal.code,
	};
	return { annotation, refusal };
}

/** Brings the annotations of an earlier pass up to date. */
export function refreshAnnotations(model: Model): void {
	for (const site of findNBitsSites(model)) {
		if (weightAnnotation(site.node) !== undefined) annotate(site.node, packedAnnotationOf(site).annotation);
	}
	for (const site of findWeightSites(model)) {
		if (weightAnnotation(site.node) !== undefined) annotate(site.node, annotationOf(site).annotation);
	}
}
