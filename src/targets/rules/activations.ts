import { isOnnxOp } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

function hasBlockScales({ weight }: OperatorFacts): boolean {
	return weight?.scheme === "lpbq" || weight?.scheme === "block";
}

function activation(operator: OperatorFacts): OperandFacts | undefined {
	return operator.inputs[operator.weight?.site.input === 0 ? 1 : 0];
}

function typeName(dtype: number | undefined): string {
	return dtype === undefined ? "float" : dataTypeName(dtype);
}

/** What the kernels take: scales are those of a uint16 grid. */
const SIXTEEN_BITS: readonly (number | undefined)[] = [DataType.UINT16, DataType.INT16];

/** Operators whose range is known, with the only encoding that the compiler gives their output. */
const FIXED_OUTPUTS: Readonly<Record<string, { readonly scale: number; readonly zeroPoint: number }>> = {
	Sigmoid: { scale: 2 ** -16, zeroPoint: 0 },
	Tanh: { scale: 2 ** -15, zeroPoint: 2 ** 15 },
};

export const ACTIVATION_RULES: RuleGroup = {
	title: "Activations of operators with block scales",
	rules: [
		{
			id: "htp/activation-type",
			about:
				"Input and output of an operator with block scales are quantized alike: UINT16 or INT16, with LPBQ also UINT8.",
			consequence: "refused",
			measured: "INT8, float and mixed types are refused; UINT8 with float block scales too",
			remedy: "quantize both to UINT16",
			appliedBy: "legalize-activations",
			broken(operator) {
				if (!hasBlockScales(operator) || isOnnxOp(operator.node, "MatMulNBits")) return undefined;
				const input = activation(operator)?.quantization;
				const output = operator.outputs[0]?.quantization;
				const taken = operator.weight!.scheme === "lpbq" ? [...SIXTEEN_BITS, DataType.UINT8] : SIXTEEN_BITS;
				if (input === undefined || !taken.includes(input.dtype)) {
					return `the input is ${typeName(input?.dtype)}, expected ${taken.map(typeName).join(", ")}`;
				}
				if (output === undefined || output.dtype === input.dtype) return undefined;
				return `the input is ${typeName(input.dtype)} and the output ${typeName(output.dtype)}, expected the same`;
			},
		},
		{
			id: "htp/fixed-output",
			about:
				"Sigmoid and Tanh in front of an LPBQ MatMul have the output encoding that the compiler gives them: 1/65536 and 0, 1/32768 and 32768.",
			consequence: "refused",
			measured: "'Failed to compose Qnn graph', also where the CPU is a fallback",
			remedy: "quantize their output so",
			appliedBy: "legalize-activations",
			broken(operator) {
				if (operator.weight?.scheme !== "lpbq") return undefined;
				const quantization = activation(operator)?.quantization;
				const producer = quantization?.node.inputs[0]?.producer?.inputs[0]?.producer;
				const fixed = FIXED_OUTPUTS[producer?.op.type ?? ""];
				if (quantization?.dtype !== DataType.UINT16 || producer === undefined || fixed === undefined) return undefined;
				if (quantization.scale === fixed.scale && quantization.zeroPoint === fixed.zeroPoint) return undefined;
				return `the output of ${producer.op.type} has the scale ${quantization.scale} and zero point ${quantization.zeroPoint}, expected ${fixed.scale} and ${fixed.zeroPoint}`;
			},
		},
	],
};
