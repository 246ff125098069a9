import { floatOf, intsAttribute } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { floatTensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";
import { nodeLabel } from "../ir/walk.js";
import { intervalOf } from "../quant/grid.js";
import { addConstant } from "../weights/constant.js";
import { type Dequantization, findWeightSites, type WeightSite, weightSiteAt } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import type { Refusal } from "./support/eligibility.js";
import { type GemmForm, gemmForm } from "./support/gemm-form.js";
import { MatMulWeights } from "./support/matmul-weight.js";
import { addQdq, addQuantizedConstant, coveringEncoding, encodingBehind } from "./support/qdq.js";
import { removeUnused } from "./support/remove-unused.js";
import { replaceValue } from "./support/replace-value.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { separateOutput } from "./support/separate-output.js";
import { reportSeparation } from "./support/separation-report.js";

export interface LowerGemmOptions extends SelectionOptions {
	/** Which weights: `block` those with block scales, `quantized` all that are behind a DequantizeLinear. */
	readonly weights: "block" | "quantized";
}

/**
 * `Gemm(x, W_DQ, C)` -> `MatMul(x, W_DQ) -> Q -> DQ -> Add(C)`: a weight [N, K] is turned around with its scales and zero
 * points, alpha goes into its scales, beta into C, and a constant C becomes integers of the activations' type. The pair in
 * front of the Add is that of separate-matmul-outputs; between float activations there is none. For a target also Gemms with
 * other quantized weights whose alpha or beta is not 1.
 */
export const lowerGemm = definePass<LowerGemmOptions>({
	name: "lower-gemm",
	summary: "Write Gemms with block-quantized weights as MatMul and Add.",
	options: {
		weights: {
			default: "block",
			choices: ["block", "quantized"],
			describe: "only Gemms with block scales, or with any quantized weight",
		},
		...SELECTION_OPTIONS,
	},
	run(model, context) {
		const names = new NameScope(model);
		const weights = new MatMulWeights(names);
		const replaced: Dequantization[] = [];
		for (const site of findWeightSites(model)) {
			if (!isOnnxOp(site.node, "Gemm") || site.dequantization === undefined) continue;
			if (!isWanted(site, context)) continue;
			const form = isSelected(site, context.options) ? gemmForm(site, site.dequantization) : exclusionOf(site);
			if ("code" in form) {
				keep(context, site, form);
				continue;
			}
			new Lowering(model, site, form, names, weights).run(context);
			replaced.push(form.dequantization);
			context.count("gemms lowered");
		}
		for (const dequantization of replaced) removeUnused(dequantization.node.outputs[0]!);
		return replaced.length > 0;
	},
});

/** Gemms with block scales, those with any quantized weight where that is asked for, and for a target those with factors. */
function isWanted({ node, scheme }: WeightSite, { options, target }: PassContext<LowerGemmOptions>): boolean {
	if (options.weights === "quantized" || scheme === "block" || scheme === "lpbq") return true;
	return target !== undefined && (floatOf(node, "alpha", 1) !== 1 || floatOf(node, "beta", 1) !== 1);
}

function keep(context: PassContext<LowerGemmOptions>, { graphSite, node, weightName }: WeightSite, refusal: Refusal) {
	context.report(refusal.code, refusal.message, { graph: graphSite.path, node: nodeLabel(node), value: weightName });
}

/** The nodes that take the place of one Gemm, in front of it until it goes. */
class Lowering {
	readonly #model: Model;
	readonly #site: WeightSite;
	readonly #form: GemmForm;
	readonly #names: NameScope;
	readonly #weights: MatMulWeights;
	readonly #gemm: Node;

	constructor(model: Model, site: WeightSite, form: GemmForm, names: NameScope, weights: MatMulWeights) {
		this.#model = model;
		this.#site = site;
		this.#form = form;
		this.#names = names;
		this.#weights = weights;
		this.#gemm = site.node;
	}

	run(context: PassContext<LowerGemmOptions>): void {
		const gemm = this.#gemm;
		const label = gemm.name;
		const [output] = gemm.outputs;
		const { transpose, alpha, dequantization } = this.#form;
		const weight = this.#weights.dequantized(dequantization, { transpose, factor: Math.abs(alpha) });
		const product = this.#node("MatMul", [this.#left(), weight], `${output!.name}_matmul`);
		const matMul = product.producer!;
		const addend = this.#addend();
		const result = this.#sum(product, addend);
		replaceValue(this.#model, output!, result, this.#names.fresh(`${output!.name}_gemm`));
		const bias = gemm.inputs[2];
		gemm.remove();
		if (bias !== undefined) removeUnused(bias);
		matMul.name = label;

		const site = weightSiteAt(matMul, 1, this.#site.graphSite, this.#site.opset)!;
		if (encodingBehind(matMul.inputs[0]) === undefined) return;
		reportSeparation(context, site, separateOutput(this.#model, site, this.#names));
	}

	#node(op: string, inputs: readonly Value[], output: string): Value {
		const graph = this.#gemm.graph!;
		const value = graph.createValue(this.#names.fresh(output));
		const name = op === "MatMul" ? "" : this.#names.fresh(`${this.#gemm.name || output}_${op}`);
		graph.createNode({ op, name, inputs, outputs: [value] }, this.#gemm);
		return value;
	}

	/** A, turned around where the Gemm does that; quantized again, for a Transpose between Q and DQ is what compilers take. */
	#left(): Value {
		const left = this.#gemm.inputs[0]!;
		if (!this.#form.transposesLeft) return left;
		const turned = this.#node("Transpose", [left], `${left.name}_T`);
		turned.producer!.attributes.set("perm", intsAttribute([1, 0]));
		const encoding = encodingBehind(left);
		return encoding === undefined ? turned : addQdq(this.#gemm.graph!, turned, encoding, this.#names, this.#gemm);
	}

	/** beta * C; undefined where that is nothing. */
	#addend(): Value | undefined {
		const { addend, beta } = this.#form;
		const graph = this.#gemm.graph!;
		if (addend === undefined) return undefined;
		if ("value" in addend) {
			if (beta === 1) return addend.value;
			const factor = addConstant(
				graph,
				this.#names.fresh(`${addend.value.name}_beta`),
				floatTensor([], [beta]),
				this.#gemm,
			);
			const product = this.#node("Mul", [addend.value, factor], `${addend.value.name}_times_beta`);
			const encoding = encodingBehind(addend.value);
			if (encoding === undefined) return product;
			const { lo, hi } = intervalOf(encoding);
			const scaled = { lo: Math.min(lo * beta, hi * beta), hi: Math.max(lo * beta, hi * beta) };
			return addQdq(graph, product, coveringEncoding(encoding.dtype, scaled), this.#names, this.#gemm);
		}
		const { shape } = addend;
		const values = Float32Array.from(addend.values, (value) => value * beta);
		const name = addend.from?.name ?? `${this.#gemm.outputs[0]!.name}_bias`;
		const encoding = encodingBehind(this.#gemm.inputs[0]);
		const stored = addend.from === undefined ? undefined : encodingBehind(addend.from);
		if (beta === 1 && stored !== undefined && stored.dtype === encoding?.dtype) return addend.from;
		if (encoding !== undefined) {
			return addQuantizedConstant(graph, name, { shape, values, dtype: encoding.dtype }, this.#names, this.#gemm);
		}
		return addConstant(graph, this.#names.fresh(`${name}_addend`), floatTensor(shape, values), this.#gemm);
	}

	#sum(product: Value, addend: Value | undefined): Value {
		const name = `${this.#gemm.outputs[0]!.name}_sum`;
		if (this.#form.alpha > 0) return addend === undefined ? product : this.#node("Add", [product, addend], name);
		return this.#node("Sub", [addend!, product], name);
	}
}
