import { DataType, type Dimension } from "../../ir/types.js";
import type { Elements, Shape } from "../fact.js";
import type { Evaluator, OperatorCall } from "../operator-call.js";
import { elementOf, isIntegerType } from "./number.js";

/** What an operator does to numbers; the names of dimensions, which are never negative, where it can be told. */
type Operation = (values: readonly Dimension[], type: DataType) => Dimension;

/** Of one number. */
function unary(compute: (value: number) => number): Operation {
	return ([value], type) => (typeof value === "number" ? elementOf(type, compute(value)) : undefined);
}

/** Of two numbers; `otherwise` where one is a name. */
function binary(
	compute: (a: number, b: number, type: DataType) => number,
	otherwise: (a: Dimension, b: Dimension) => Dimension = () => undefined,
): Operation {
	return ([a, b], type) => {
		if (typeof a === "number" && typeof b === "number") return elementOf(type, compute(a, b, type));
		return a === undefined || b === undefined ? undefined : otherwise(a, b);
	};
}

function isNegative(value: Dimension): boolean {
	return typeof value === "number" && value < 0;
}

function multiply(a: Dimension, b: Dimension): Dimension {
	if (a === 0 || b === 0) return 0;
	return a === 1 ? b : b === 1 ? a : undefined;
}

function equal(a: Dimension, b: Dimension): Dimension {
	if (a === b) return 1;
	return isNegative(a) || isNegative(b) ? 0 : undefined;
}

/** Integers are divided towards zero. */
function divide(a: number, b: number, type: DataType): number {
	return isIntegerType(type) ? Math.trunc(a / b) : a / b;
}

/** The remainder has the divisor's sign. */
function modulo(a: number, b: number): number {
	return a - b * Math.floor(a / b);
}

function roundHalfToEven(value: number): number {
	if (value < 0) return -roundHalfToEven(-value);
	const floor = Math.floor(value);
	const rest = value - floor;
	return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

function largest(a: Dimension, b: Dimension): Dimension {
	if (a === b || isNegative(b) || b === 0) return a;
	return isNegative(a) || a === 0 ? b : undefined;
}

const UNARY: Readonly<Record<string, Operation>> = {
	Abs: ([a], type) => (typeof a === "number" ? elementOf(type, Math.abs(a)) : a),
	Neg: unary((a) => -a),
	Floor: unary((a) => Math.floor(a)),
	Ceil: unary((a) => Math.ceil(a)),
	Round: unary((a) => roundHalfToEven(a)),
	Sqrt: unary((a) => Math.sqrt(a)),
	Reciprocal: unary((a) => 1 / a),
	Sign: unary((a) => Math.sign(a)),
	Not: unary((a) => 1 - a),
};

const BINARY: Readonly<Record<string, Operation>> = {
	Add: binary(
		(a, b) => a + b,
		(a, b) => (a === 0 ? b : b === 0 ? a : undefined),
	),
	Sub: binary(
		(a, b) => a - b,
		(a, b) => (b === 0 ? a : a === b ? 0 : undefined),
	),
	Mul: binary((a, b) => a * b, multiply),
	Div: binary(divide, (a, b) => (b === 1 ? a : undefined)),
	Pow: binary((a, b) => a ** b),
	Max: binary((a, b) => Math.max(a, b), largest),
	Min: binary(
		(a, b) => Math.min(a, b),
		(a, b) => (a === b ? a : a === 0 || b === 0 ? 0 : undefined),
	),
	Equal: binary((a, b) => Number(a === b), equal),
	Less: binary(
		(a, b) => Number(a < b),
		(a, b) => (a === b || isNegative(b) ? 0 : isNegative(a) ? 1 : undefined),
	),
	LessOrEqual: binary(
		(a, b) => Number(a <= b),
		(a, b) => (isNegative(b) ? 0 : a === b || isNegative(a) ? 1 : undefined),
	),
	Greater: binary(
		(a, b) => Number(a > b),
		(a, b) => (a === b || isNegative(a) ? 0 : isNegative(b) ? 1 : undefined),
	),
	GreaterOrEqual: binary(
		(a, b) => Number(a >= b),
		(a, b) => (isNegative(a) ? 0 : a === b || isNegative(b) ? 1 : undefined),
	),
	And: binary((a, b) => a & b),
	Or: binary((a, b) => a | b),
	Xor: binary((a, b) => a ^ b),
};

const choose: Operation = ([condition, a, b]) => {
	if (condition === undefined) return a === b ? a : undefined;
	return condition === 0 ? b : a;
};

/** Applies `operation` to elements broadcast to the shape of the result. */
function elementwise(operation: Operation): Evaluator {
	return (call, { shape, elementType }) => {
		const inputs = Array.from({ length: call.inputCount }, (_, index) => broadcastTo(call, index, shape));
		if (inputs.some((input) => input === undefined)) return undefined;
		const known = inputs as readonly Elements[];
		return known[0]?.map((_, at) =>
			operation(
				known.map((input) => input[at]),
				elementType,
			),
		);
	};
}

/** Max and Min take any number of inputs. */
function folding(operation: Operation): Evaluator {
	return elementwise((values, type) => values.reduce((all, value) => operation([all, value], type)));
}

/** Elements of input `index` as often as broadcasting to `shape` repeats them. */
export function broadcastTo(call: OperatorCall, index: number, shape: readonly number[]): Elements | undefined {
	const elements = call.elements(index);
	const own = call.shape(index);
	if (elements === undefined || own === undefined) return undefined;
	return spread(elements, own, shape);
}

export function spread(elements: Elements, own: Shape, shape: readonly number[]): Elements | undefined {
	const count = shape.reduce((product, dimension) => product * dimension, 1);
	if (elements.length === count) return elements;
	if (elements.length === 1) return new Array<Dimension>(count).fill(elements[0]);
	const steps = stepsOf(own, shape);
	return Array.from({ length: count }, (_, flat) => {
		let rest = flat;
		let at = 0;
		for (let axis = shape.length - 1; axis >= 0; axis--) {
			at += (rest % shape[axis]!) * steps[axis]!;
			rest = Math.floor(rest / shape[axis]!);
		}
		return elements[at];
	});
}

/** How far one step along each axis of `shape` goes in a tensor of shape `own`: 0 where it is repeated. */
function stepsOf(own: Shape, shape: readonly number[]): number[] {
	const steps: number[] = new Array<number>(shape.length).fill(0);
	let step = 1;
	for (let axis = own.length - 1; axis >= 0; axis--) {
		const length = own[axis] as number;
		if (length !== 1) steps[axis + shape.length - own.length] = step;
		step *= length;
	}
	return steps;
}

const cast: Evaluator = (call, { elementType }) => {
	const isInteger = isIntegerType(elementType);
	return call.elements(0)?.map((value) => {
		if (elementType === DataType.BOOL) return typeof value === "number" ? Number(value !== 0) : undefined;
		if (typeof value !== "number") return value;
		return elementOf(elementType, isInteger ? Math.trunc(value) : value);
	});
};

const mod: Evaluator = (call, result) => {
	const truncates = call.int("fmod") === 1;
	return elementwise(binary((a, b) => (truncates ? a % b : modulo(a, b))))(call, result);
};

const clip: Evaluator = (call, { elementType }) => {
	const low = call.has(1) ? call.elements(1)?.[0] : (call.float("min") ?? Number.NEGATIVE_INFINITY);
	const high = call.has(2) ? call.elements(2)?.[0] : (call.float("max") ?? Number.POSITIVE_INFINITY);
	if (typeof low !== "number" || typeof high !== "number") return undefined;
	return call
		.elements(0)
		?.map((value) =>
			typeof value === "number" ? elementOf(elementType, Math.min(Math.max(value, low), high)) : undefined,
		);
};

export const ELEMENTWISE_EVALUATORS: Readonly<Record<string, Evaluator>> = {
	...Object.fromEntries(
		Object.entries({ ...UNARY, ...BINARY }).map(([name, operation]) => [name, elementwise(operation)]),
	),
	Max: folding(BINARY.Max!),
	Min: folding(BINARY.Min!),
	Mod: mod,
	Where: elementwise(choose),
	Cast: cast,
	CastLike: cast,
	Clip: clip,
};
