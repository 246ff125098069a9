import type { DataType, Dimension, ValueType } from "../ir/types.js";

/** Dimensions of a tensor, outermost first. */
export type Shape = readonly Dimension[];

/**
 * The contents of a small tensor in row-major order: numbers (booleans as 0 and 1), names of symbolic dimensions where they
 * came out of Shape, undefined where an element is not known.
 */
export type Elements = readonly Dimension[];

/** What is known of a value. An element type of 0 (UNDEFINED) is one that is not known. */
export interface Fact {
	readonly type: ValueType | undefined;
	readonly elements?: Elements | undefined;
	/** Are the elements those of a constant, which are read when somebody asks for them? */
	readonly isConstant?: boolean;
}

export const NOTHING: Fact = { type: undefined };

/** A tensor of which the element type, the shape or both may be unknown. */
export function tensorFact(elementType: DataType | undefined, shape: Shape | undefined): Fact {
	if (elementType === undefined && shape === undefined) return NOTHING;
	return { type: { kind: "tensor", elementType: elementType ?? 0, shape } };
}

export function shapeOfType(type: ValueType | undefined): Shape | undefined {
	return type?.kind === "tensor" || type?.kind === "sparse-tensor" ? type.shape : undefined;
}

export function elementTypeOf(type: ValueType | undefined): DataType | undefined {
	if (type?.kind !== "tensor" && type?.kind !== "sparse-tensor") return undefined;
	return type.elementType === 0 ? undefined : type.elementType;
}

/** `inferred`, with what is not known there taken from `stated`. */
export function refineType(inferred: ValueType | undefined, stated: ValueType | undefined): ValueType | undefined {
	if (inferred === undefined || inferred.kind === "unknown") return stated;
	if (stated === undefined || stated.kind !== inferred.kind) return inferred;
	if (inferred.kind === "tensor" || inferred.kind === "sparse-tensor") {
		const elementType = elementTypeOf(inferred) ?? elementTypeOf(stated) ?? 0;
		return { kind: inferred.kind, elementType, shape: refineShape(inferred.shape, shapeOfType(stated)) };
	}
	if ((inferred.kind === "sequence" || inferred.kind === "optional") && "element" in stated) {
		return { kind: inferred.kind, element: refineType(inferred.element, stated.element) };
	}
	return inferred;
}

function refineShape(inferred: Shape | undefined, stated: Shape | undefined): Shape | undefined {
	if (inferred === undefined) return stated;
	if (stated === undefined || stated.length !== inferred.length) return inferred;
	return inferred.map((dimension, axis) => dimension ?? stated[axis]);
}

/** What holds of both: of a value that is now one of these, now the other. */
export function commonType(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
	if (a === b) return a;
	if (a === undefined || b === undefined || a.kind !== b.kind) return undefined;
	if (a.kind === "tensor" || a.kind === "sparse-tensor") {
		const elementType = elementTypeOf(a) === elementTypeOf(b) ? a.elementType : 0;
		return { kind: a.kind, elementType, shape: commonShape(a.shape, shapeOfType(b)) };
	}
	if ((a.kind === "sequence" || a.kind === "optional") && "element" in b) {
		return { kind: a.kind, element: commonType(a.element, b.element) };
	}
	return JSON.stringify(a) === JSON.stringify(b) ? a : undefined;
}

export function commonShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
	if (a === undefined || b === undefined || a.length !== b.length) return undefined;
	return a.map((dimension, axis) => (dimension === b[axis] ? dimension : undefined));
}

export function commonFact(a: Fact, b: Fact): Fact {
	const elements = a.elements?.map((element, index) => (element === b.elements?.[index] ? element : undefined));
	const type = commonType(a.type, b.type);
	return elements?.some((element) => element !== undefined) && a.elements?.length === b.elements?.length
		? { type, elements }
		: { type };
}
