import { intOf } from "../../ir/attribute.js";
import { type BatchCall, type BatchRule, fromFront, stackedAt } from "./rule.js";

/** Operators whose inputs are stretched to a common shape, or that have one input. */
const ELEMENTWISE =
	"Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip Cos Cosh " +
	"Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less " +
	"LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh " +
	"Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor";

/** The same in ONNX Runtime's domain; a bias is one of the inputs. */
const MICROSOFT_ELEMENTWISE = "BiasGelu FastGelu Gelu QuickGelu";

/** Samples must be stacked along the same axis of the output, and what they share must not vary along it. */
export function broadcastAxis(call: BatchCall, shape: readonly number[] | undefined): number | undefined {
	let common: number | undefined;
	if (shape === undefined || call.opset < 7) return undefined;
	for (const [input, value] of call.node.inputs.entries()) {
		const axis = call.axis(input);
		if (value === undefined || axis === undefined) continue;
		const own = call.shape(input);
		if (own === undefined) return undefined;
		const at = axis + shape.length - own.length;
		if (own[axis] !== shape[at] || (common !== undefined && common !== at)) return undefined;
		common = at;
	}
	if (common === undefined) return undefined;
	const isShared = (input: number) => call.has(input) && call.axis(input) === undefined;
	const fits = call.node.inputs.every((_, input) => !isShared(input) || spansOne(call.shape(input), shape, common));
	return fits ? common : undefined;
}

/** Does a value that is stretched to `shape` have one length at `axis` of it? */
export function spansOne(own: readonly number[] | undefined, shape: readonly number[], axis: number): boolean {
	return own !== undefined && (own[axis - shape.length + own.length] ?? 1) === 1;
}

const broadcast: BatchRule = (call) => stackedAt(call, broadcastAxis(call, call.outputShape(0)));

const dropout: BatchRule = (call) => (call.shares(1) && !call.has(2) ? stackedAt(call, call.axis(0)) : undefined);

/** Scales that vary along an axis must not do so along that of the samples. */
const quantize: BatchRule = (call) => {
	const [axis, shape, scale] = [call.axis(0), call.shape(0), call.shape(1)];
	if (axis === undefined || shape === undefined || scale === undefined || !call.shares(1)) return undefined;
	if (scale.length > 1 || intOf(call.node, "block_size", 0) > 0) return undefined;
	const varies = (scale[0] ?? 1) > 1 && fromFront(intOf(call.node, "axis", 1), shape.length) === axis;
	return varies ? undefined : stackedAt(call, axis);
};

const named = (names: string, rule: BatchRule) => names.split(" ").map((name) => [name, rule] as const);

export const ELEMENTWISE_RULES: readonly (readonly [string, BatchRule])[] = [
	...named(ELEMENTWISE, broadcast),
	...named(MICROSOFT_ELEMENTWISE, broadcast).map(([name, rule]) => [`com.microsoft.${name}`, rule] as const),
	...named("QuantizeLinear DequantizeLinear", quantize),
	["Dropout", dropout],
];
