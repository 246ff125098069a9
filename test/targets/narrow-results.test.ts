import { expect, test } from "vitest";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { type Encoding, pair } from "../runtime/operator-models.js";
import { modelOf } from "../support/build.js";

const { FLOAT, UINT8, UINT16, INT8 } = DataType;

interface Case {
	readonly op: string;
	readonly shape: readonly number[];
	readonly output: Encoding;
	/** Absent: the operator reads floats. */
	readonly input?: Encoding;
	readonly isAveraged?: boolean;
	/** Of what reads the codes; absent: as `output`. */
	readonly result?: Encoding;
	readonly architecture?: string;
}

async function rulesOf({
	op,
	shape,
	output,
	input,
	isAveraged,
	result = output,
	architecture = "v79",
}: Case): Promise<string[]> {
	const model = modelOf((b) => {
		b.input("x", FLOAT, shape);
		b.initializer("number", floatTensor([], [0.7]));
		b.initializer("axes", int64Tensor([1], [-1]));
		const x = input ? pair(b, "x", input) : "x";
		b.node(op, ["Min", "Mul"].includes(op) ? [x, "number"] : [x], ["y"]);
		const codes = pair(b, "y", output);
		b.node(isAveraged ? "ReduceMean" : "Mul", [codes, isAveraged ? "axes" : codes], ["z"]);
		b.output(pair(b, "z", result));
	});
	const findings = await checkModel(model, parseTarget(`qnn-htp:${architecture}`));
	return findings.filter(({ consequence }) => consequence === "wrong").map(({ rule }) => rule);
}

const narrow: Encoding = { dtype: UINT8, scale: 2 ** -5 };
const wide: Encoding = { dtype: UINT16 };

test.each<[string, Case, boolean]>([
	["100 floats", { op: "Neg", shape: [5, 20], output: narrow }, true],
	["100 floats, INT8", { op: "Neg", shape: [5, 20], output: { dtype: INT8, scale: 2 ** -5 } }, true],
	["100 floats, UINT16", { op: "Neg", shape: [5, 20], output: wide }, false],
	["100 floats on a v68", { op: "Neg", shape: [5, 20], output: narrow, architecture: "v68" }, false],
	["100 floats, to UINT16 behind", { op: "Neg", shape: [5, 20], output: narrow, result: wide }, false],
	["128 floats", { op: "Neg", shape: [4, 32], output: narrow, isAveraged: true }, false],
	["480 floats", { op: "Neg", shape: [8, 60], output: narrow }, false],
	["480 floats, averaged", { op: "Neg", shape: [8, 60], output: narrow, isAveraged: true }, true],
	["4800 floats, averaged", { op: "Neg", shape: [80, 60], output: narrow, isAveraged: true }, false],
	["two images of 64", { op: "Neg", shape: [2, 4, 4, 4], output: narrow }, true],
	["two matrices of 64", { op: "Neg", shape: [2, 8, 8], output: narrow }, false],
	["a Relu of floats", { op: "Relu", shape: [5, 20], output: narrow }, false],
	["a multiple of floats", { op: "Mul", shape: [5, 20], output: narrow }, false],
	["a Neg of UINT16", { op: "Neg", shape: [5, 20], output: narrow, input: wide }, false],
	["a Sqrt of UINT16", { op: "Sqrt", shape: [5, 20], output: narrow, input: wide }, true],
	["64 of a Tanh of UINT16", { op: "Tanh", shape: [4, 16], output: narrow, input: wide }, true],
	["100 of a Tanh of UINT16", { op: "Tanh", shape: [5, 20], output: narrow, input: wide }, false],
	["a Tanh of UINT8", { op: "Tanh", shape: [5, 20], output: narrow, input: narrow }, false],
	["a Min of UINT8", { op: "Min", shape: [5, 20], output: narrow, input: narrow }, true],
])("%s to codes of 8 bits", async (_name, given, isBroken) => {
	expect((await rulesOf(given)).includes("htp/unrounded-codes")).toBe(isBroken);
});

test.each<[string, string, number, string | undefined]>([
	["Round", "FLOAT", 2, "htp/negative-zero"],
	["Ceil", "FLOAT", 1, "htp/negative-zero"],
	["Round", "FLOAT", 3, undefined],
	["Round", "UINT16", 2, undefined],
	["Floor", "FLOAT", 2, undefined],
	["Neg", "FLOAT", 2, undefined],
])("%s of %s, to the power of %i", async (op, type, exponent, rule) => {
	const model = modelOf((b) => {
		b.input("x", FLOAT, [6, 24]);
		b.initializer("exponent", floatTensor([], [exponent]));
		const coded = (name: string) => (type === "FLOAT" ? name : pair(b, name, wide));
		b.node(op, [coded("x")], ["y"]);
		b.node("Pow", [coded("y"), "exponent"], ["z"]);
		b.output(coded("z"));
	});
	const findings = await checkModel(model, parseTarget("qnn-htp:v79"));
	expect(findings.find((finding) => finding.rule === "htp/negative-zero")?.rule).toBe(rule);
});
