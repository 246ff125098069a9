import { DataType, type ValueType } from "../../ir/types.js";
import { frontAxis, isStatic, unknownShape } from "../dimension.js";
import { commonType, type Fact, NOTHING, shapeOfType, tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";

function elementOf(type: ValueType | undefined): ValueType | undefined {
	return type?.kind === "sequence" || type?.kind === "optional" ? type.element : undefined;
}

function sequenceOf(element: ValueType | undefined): Fact {
	return { type: { kind: "sequence", element } };
}

/** A sequence of what all inputs have in common. */
const construct: Rule = (call) => {
	const [first, ...others] = Array.from({ length: call.inputCount }, (_, index) => call.type(index));
	return [sequenceOf(others.reduce(commonType, first))];
};

const empty: Rule = (call) => [
	sequenceOf({ kind: "tensor", elementType: call.int("dtype") ?? DataType.FLOAT, shape: undefined }),
];

const insert: Rule = (call) => {
	const element = elementOf(call.type(0));
	return [sequenceOf(commonType(element, call.type(1)) ?? element)];
};

const scalarOf =
	(elementType: DataType): Rule =>
	() => [tensorFact(elementType, [])];

const splitToSequence: Rule = (call) => {
	const input = call.shape(0);
	const axis = input && frontAxis(call.int("axis") ?? 0, input.length);
	if (input === undefined || axis === undefined) return [sequenceOf(tensorFact(call.elementType(0), undefined).type)];
	if (!call.has(1)) {
		const isKept = call.int("keepdims") !== 0;
		return [sequenceOf(tensorFact(call.elementType(0), isKept ? input.with(axis, 1) : input.toSpliced(axis, 1)).type)];
	}
	const sizes = call.elements(1);
	const isScalar = call.shape(1)?.length === 0;
	const length = input[axis];
	const isEven =
		isStatic(sizes) &&
		(isScalar ? typeof length === "number" && length % sizes[0]! === 0 : sizes.every((size) => size === sizes[0]));
	return [sequenceOf(tensorFact(call.elementType(0), input.with(axis, isEven ? sizes[0] : undefined)).type)];
};

const concatFromSequence: Rule = (call) => {
	const element = elementOf(call.type(0));
	const shape = shapeOfType(element);
	const elementType = element?.kind === "tensor" ? element.elementType : undefined;
	if (shape === undefined) return [tensorFact(elementType, undefined)];
	const isNew = call.int("new_axis") === 1;
	const axis = frontAxis(call.int("axis") ?? 0, shape.length + (isNew ? 1 : 0));
	if (axis === undefined) return [tensorFact(elementType, unknownShape(shape.length))];
	return [tensorFact(elementType, isNew ? shape.toSpliced(axis, 0, undefined) : shape.with(axis, undefined))];
};

const optional: Rule = (call) => {
	const stated = call.attribute("type");
	return [
		{
			type: {
				kind: "optional",
				element: call.has(0) ? call.type(0) : stated?.kind === "type" ? stated.value : undefined,
			},
		},
	];
};

/** What an optional holds; of anything else, itself. */
function contentOf(call: OperatorCall): Fact {
	const type = call.type(0);
	return type?.kind === "optional" ? { type: type.element } : type === undefined ? NOTHING : { type };
}

export const SEQUENCE_RULES: RuleTable = {
	SequenceConstruct: construct,
	SequenceEmpty: empty,
	SequenceInsert: insert,
	SequenceErase: (call) => [{ type: call.type(0) }],
	SequenceAt: (call) => [{ type: elementOf(call.type(0)) }],
	SequenceLength: scalarOf(DataType.INT64),
	SplitToSequence: splitToSequence,
	ConcatFromSequence: concatFromSequence,
	Optional: optional,
	OptionalHasElement: scalarOf(DataType.BOOL),
	OptionalGetElement: (call) => [contentOf(call)],
};
