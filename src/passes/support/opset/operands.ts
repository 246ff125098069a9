import type { Attribute, AttributeKind } from "../../../ir/attribute.js";
import { floatAttribute, intAttribute } from "../../../ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, type Tensor, tensor } from "../../../ir/tensor.js";
import { DataType, dataTypeName } from "../../../ir/types.js";
import { float32ToFloat16 } from "../../../quant/float16.js";
import { type NewNode, type NodeDraft, type Operand, refuse } from "./node-draft.js";

/** A node that is yet to be made. */
export function newNode(
	label: string,
	op: string,
	inputs: readonly (Operand | undefined)[],
	attributes: Readonly<Record<string, Attribute>> = {},
): NewNode {
	return { label, op, inputs, attributes };
}

/** An INT64 constant that is yet to be made. */
export function newIntegers(label: string, shape: readonly number[], values: readonly (number | bigint)[]): Operand {
	return { label, tensor: int64Tensor(shape, values) };
}

/** Makes the attribute `name`, a list of integers, input `index`, an INT64 vector. Does nothing where it is absent. */
export function integersToInput(draft: NodeDraft, name: string, index: number): void {
	const attribute = takeOf(draft, name, "ints");
	if (attribute === undefined) return;
	const operand =
		attribute.kind === "ints"
			? newIntegers(name, [attribute.value.length], attribute.value)
			: given(draft, name, "value_ints", attribute);
	draft.setInput(index, operand);
}

/** Makes the attribute `name`, an integer, input `index`, an INT64 of shape [] or [1]. Does nothing where it is absent. */
export function integerToInput(draft: NodeDraft, name: string, index: number, rank: 0 | 1): void {
	const attribute = takeOf(draft, name, "int");
	if (attribute === undefined) return;
	const shape = rank === 0 ? [] : [1];
	if (attribute.kind === "int") {
		draft.setInput(index, newIntegers(name, shape, [attribute.value]));
		return;
	}
	const scalar = given(draft, name, "value_int", attribute);
	const vector = () => newNode(`${name}_vector`, "Reshape", [scalar, newIntegers(`${name}_shape`, [1], [1])]);
	draft.setInput(index, rank === 0 ? scalar : vector());
}

/** Makes the attribute `name`, a list of floats, input `index`, a FLOAT vector. Does nothing where it is absent. */
export function floatsToInput(draft: NodeDraft, name: string, index: number): void {
	const attribute = takeOf(draft, name, "floats");
	if (attribute === undefined) return;
	const operand =
		attribute.kind === "floats"
			? { label: name, tensor: floatTensor([attribute.value.length], attribute.value) }
			: given(draft, name, "value_floats", attribute);
	draft.setInput(index, operand);
}

/**
 * Makes the attribute `name`, a float, input `index`, a scalar of the element type of `like`, or a FLOAT where there is no
 * `like`. Does nothing where it is absent, and only drops it where it says `unless`, which leaving the input out says too.
 */
export function floatToInput(
	draft: NodeDraft,
	name: string,
	index: number,
	{ like, unless, label = name }: { readonly like?: Operand; readonly unless?: number; readonly label?: string },
): void {
	const attribute = takeOf(draft, name, "float");
	if (attribute === undefined || (attribute.kind === "float" && attribute.value === unless)) return;
	const type = like === undefined ? DataType.FLOAT : draft.elementTypeOf(like);
	if (attribute.kind === "float" && type !== undefined) {
		draft.setInput(index, { label, tensor: scalar(type, attribute.value) });
		return;
	}
	const constant =
		attribute.kind === "float"
			? newNode(label, "Constant", [], { value_float: floatAttribute(attribute.value) })
			: given(draft, name, "value_float", attribute);
	if (like === undefined || type === DataType.FLOAT) draft.setInput(index, constant);
	else if (type !== undefined) {
		draft.setInput(index, newNode(`${label}_cast`, "Cast", [constant], { to: intAttribute(type) }));
	} else if (draft.context.target >= 15) draft.setInput(index, newNode(`${label}_cast`, "CastLike", [constant, like]));
	else
		refuse(`the element type of its input is not known, which the input that replaces attribute '${name}' must have`);
}

type Given = Attribute & { readonly kind: "reference" };

/** The attribute `name` as a constant of the given kind or as one that the function's caller gives. */
function takeOf<K extends AttributeKind>(
	draft: NodeDraft,
	name: string,
	kind: K,
): (Attribute & { readonly kind: K }) | Given | undefined {
	const attribute = draft.take(name);
	if (attribute === undefined || attribute.kind === kind || attribute.kind === "reference") {
		return attribute as (Attribute & { readonly kind: K }) | Given | undefined;
	}
	return refuse(`attribute '${name}' has kind '${attribute.kind}', expected '${kind}'`);
}

/** A Constant whose value is the attribute that the caller of the function gives. */
function given(draft: NodeDraft, name: string, constantAttribute: string, attribute: Given): NewNode {
	if (!draft.context.isAlwaysGiven(attribute.to)) {
		refuse(
			`attribute '${name}' is attribute '${attribute.to}' of the function around it, which some callers leave out`,
		);
	}
	return newNode(name, "Constant", [], { [constantAttribute]: attribute });
}

function scalar(type: DataType, value: number): Tensor {
	switch (type) {
		case DataType.FLOAT:
			return floatTensor([], [value]);
		case DataType.FLOAT16:
			return tensor(type, [], bytesOf(Uint16Array.of(float32ToFloat16(value))));
		case DataType.DOUBLE:
			return tensor(type, [], bytesOf(Float64Array.of(value)));
		default:
			return refuse(`its input is ${dataTypeName(type)}, expected FLOAT, FLOAT16 or DOUBLE`);
	}
}
