import { inferTypes } from "../inference/index.js";
import { type FunctionDefinition, type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { weightSiteAt } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import type { Refusal } from "./support/eligibility.js";
import { findNBitsSites, type NBitsForm, type NBitsSite, packedEntryOf } from "./support/nbits-form.js";
import { NBitsRewriter } from "./support/nbits-rewrite.js";
import { type NBitsTensors, nbitsTensors } from "./support/nbits-tensors.js";
import { ensureOpset } from "./support/opset/ensure-opset.js";
import { irVersionOf } from "./support/opset/history.js";
import { raiseIrVersion } from "./support/opset/raise-opset.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { Spool } from "./support/spool.js";
import { isEmbedding, retieEmbedding } from "./support/tied-embedding.js";
import { lossText, requantizedEntry } from "./support/weight-entry.js";

export interface LowerMatmulNbitsOptions extends SelectionOptions {
	/** Make weights that DequantizeLinear cannot hold symmetric 4-bit, which loses something. */
	readonly requantize: boolean;
	/** What 2-bit codes become: INT4 with their zero points taken off, which is exact, or INT2, which needs operator set 25. */
	readonly twoBits: "int4" | "int2";
}

/**
 * `MatMulNBits(x, packed [N, blocks, bytes], scales, zero points, group index, bias)` ->
 * `MatMul(x, DequantizeLinear(codes [K, N], scales)) + bias`: codes of 4 and 8 bits become signed, and so do zero points,
 * which go where all are 0 then. Rows are sorted by the group index, and x with them. The operator set is raised where
 * DequantizeLinear has no blocks. A weight that several nodes read stays one, a GatherBlockQuantized among them.
 */
export const lowerMatmulNbits = definePass<LowerMatmulNbitsOptions>({
	name: "lower-matmul-nbits",
	summary: "Unpack the weights of ONNX Runtime's MatMulNBits into DequantizeLinear and MatMul.",
	options: {
		requantize: {
			default: false,
			describe: "make weights whose zero points DequantizeLinear cannot hold symmetric 4-bit, at a loss",
		},
		twoBits: {
			default: "int4",
			choices: ["int4", "int2"],
			describe: "2-bit codes become INT4, without loss, or INT2, which needs operator set 25",
		},
		...SELECTION_OPTIONS,
	},
	run(model, context) {
		const unpacked = unpackAll(model, context);
		const lowered = withOpset(model, unpacked, context);
		if (lowered.length === 0) return false;
		const names = new NameScope(model);
		const rewriter = new NBitsRewriter(names);
		const embeddings = [...allNodes(model)].filter(({ node }) => isEmbedding(node));
		const types = embeddings.length > 0 ? inferTypes(model) : undefined;
		const requantized: (readonly [Node, Lowered])[] = [];
		for (const one of lowered) {
			const { site, form, tensors } = one;
			const { node } = site;
			report(context, site, form, tensors);
			const weight = rewriter.constants(form, tensors, node);
			const matMul = rewriter.replace(node, form, tensors, weight);
			context.count("nodes lowered");
			if (tensors.error !== undefined) requantized.push([matMul, one]);
			for (const { node } of embeddings.filter(({ node }) => node.graph !== undefined)) {
				const idsRank = types?.shapeOf(node.inputs[1]!)?.length;
				if (retieEmbedding(node, form, tensors, weight, idsRank, names)) context.count("embeddings tied");
			}
		}
		rewriter.takeNames();
		for (const [matMul, one] of requantized) reportRequantized(context, matMul, one);
		reportCopies(lowered, context);
		refreshAnnotations(model);
		return true;
	},
});

/** A node with what will stand for its weight. */
interface Lowered {
	readonly site: NBitsSite;
	readonly form: NBitsForm;
	readonly tensors: NBitsTensors;
}

/** Unpacks every weight once; reports the nodes that stay. */
function unpackAll(model: Model, context: PassContext<LowerMatmulNbitsOptions>): Lowered[] {
	let spool: Spool | undefined;
	const sharedSpool = () => {
		spool ??= new Spool();
		return spool;
	};
	const known = new Map<string, NBitsTensors | Refusal>();
	const ids = new Map<unknown, number>();
	const id = (object: unknown) => ids.get(object) ?? ids.set(object, ids.size).size - 1;
	const lowered: Lowered[] = [];
	for (const site of findNBitsSites(model)) {
		const { form } = site;
		if (!isSelected(site, context.options)) keep(context, site, exclusionOf(site));
		else if ("code" in form) keep(context, site, form);
		else {
			const { packed, scales, zeroPoints, depth, channels, bits, blockSize } = form;
			const constants = [packed, scales, zeroPoints].map((constant) => id(constant?.value));
			const key = [...constants, id(site.node.inputs[4]), depth, channels, bits, blockSize].join();
			const tensors = known.get(key) ?? nbitsTensors(form, context.options, sharedSpool);
			known.set(key, tensors);
			if ("code" in tensors) keep(context, site, tensors);
			else lowered.push({ site, form, tensors });
		}
	}
	return lowered;
}

/** Raises the operator set where it has no DequantizeLinear for some weight; returns the nodes whose one has. */
function withOpset(
	model: Model,
	lowered: readonly Lowered[],
	context: PassContext<LowerMatmulNbitsOptions>,
): readonly Lowered[] {
	const needed = lowered.reduce((most, { tensors }) => Math.max(most, opsetFor(tensors)), 0);
	const scopeOf = ({ site }: Lowered): Model | FunctionDefinition => site.graphSite.function ?? model;
	const lacks = (one: Lowered) => (onnxOpset(scopeOf(one)) ?? 0) < opsetFor(one.tensors);
	let ready = lowered;
	if (lowered.some(lacks)) {
		const obstacle = ensureOpset(model, lowered.filter(lacks).map(scopeOf), needed);
		if (obstacle === undefined) context.count("operator set", needed);
		else {
			for (const { site } of lowered.filter(lacks)) {
				const message = `weight '${site.weightName}' stays packed: ${obstacle}`;
				keep(context, site, { code: "nbits/opset", message });
			}
			ready = lowered.filter((one) => !lacks(one));
		}
	}
	if (ready.length > 0) raiseIrVersion(model, irVersionOf(Math.max(...ready.map(({ tensors }) => opsetFor(tensors)))));
	return ready;
}

function opsetFor({ codes }: NBitsTensors): number {
	return codes.dtype === DataType.INT2 ? 25 : 21;
}

function keep(context: PassContext<LowerMatmulNbitsOptions>, site: NBitsSite, { code, message }: Refusal): void {
	context.count("nodes kept");
	context.report(code, message, placeOf(site));
	context.reportWeight({ ...packedEntryOf(site), status: "kept", code, message });
}

function report(
	context: PassContext<LowerMatmulNbitsOptions>,
	site: NBitsSite,
	form: NBitsForm,
	{ order, zeroPoint }: NBitsTensors,
): void {
	if (order !== undefined) {
		const message = `the rows of weight '${site.weightName}' were sorted by its group index, and a Gather sorts '${site.node.inputs[0]!.name}' alike`;
		const forgotten =
			form.zeroPoints?.tensor.dtype === DataType.UINT8
				? ["ONNX Runtime's CPU kernel forgets packed zero points where there is a group index; the result does not"]
				: [];
		context.report("nbits/lowered", message, placeOf(site), forgotten);
	}
	if (zeroPoint !== undefined) context.count("weights with zero points");
}

function reportRequantized(
	context: PassContext<LowerMatmulNbitsOptions>,
	matMul: Node,
	{ site, form, tensors }: Lowered,
): void {
	const message = `weight '${site.weightName}' of ${form.bits} bits was made symmetric 4-bit, ${lossText(tensors.error!)}`;
	context.report("weight/requantized", message, placeOf(site));
	const made = weightSiteAt(matMul, 1, site.graphSite, opsetFor(tensors));
	context.reportWeight(requantizedEntry(made!, tensors.error!));
}

/** Names the packed weights that something else needs. */
function reportCopies(lowered: readonly Lowered[], context: PassContext<LowerMatmulNbitsOptions>): void {
	const seen = new Set<Value>();
	for (const { site, form } of lowered) {
		const { value } = form.packed;
		if (seen.has(value) || (value.uses.length === 0 && !value.isGraphOutput)) continue;
		seen.add(value);
		const reader = value.uses[0]?.node;
		const who = reader === undefined ? "is an output of the graph" : `is read by '${nodeLabel(reader)}'`;
		const message = `the packed weight '${value.name}' ${who}, too, so that the model holds it twice`;
		context.report("nbits/copied", message, placeOf(site));
	}
}

function placeOf({ graphSite, node, weightName }: NBitsSite) {
	return { graph: graphSite.path, node: nodeLabel(node), value: weightName };
}
