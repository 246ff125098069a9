import type { Dimension } from "../ir/types.js";
import type { Elements, Shape } from "./fact.js";

/** No tensor has more dimensions (numpy's limit): what a file says beyond is taken for unknown. */
export const MAX_RANK = 64;

/** `rank` dimensions of which nothing is known. */
export function unknownShape(rank: number): Shape {
	return new Array<Dimension>(rank).fill(undefined);
}

/** Are all dimensions (or elements) numbers? */
export function isStatic(dimensions: Shape | Elements | undefined): dimensions is readonly number[] {
	return dimensions?.every((dimension) => typeof dimension === "number") ?? false;
}

/** `axis` counted from the front; undefined where there is no such axis. */
export function frontAxis(axis: number, rank: number): number | undefined {
	const index = axis < 0 ? axis + rank : axis;
	return Number.isInteger(index) && index >= 0 && index < rank ? index : undefined;
}

/** The product, as far as it is known: a name times 1 is the name, anything times 0 is 0. */
export function product(dimensions: Shape): Dimension {
	let numbers = 1;
	let name: string | undefined;
	let isKnown = true;
	for (const dimension of dimensions) {
		if (typeof dimension === "number") numbers *= dimension;
		else if (typeof dimension === "string" && name === undefined) name = dimension;
		else isKnown = false;
	}
	if (numbers === 0) return 0;
	if (!isKnown) return undefined;
	if (name === undefined) return numbers;
	return numbers === 1 ? name : undefined;
}

/** The sum, as far as it is known: a name plus 0 is the name. */
export function sum(dimensions: Shape): Dimension {
	const others: Shape = dimensions.filter((dimension) => dimension !== 0);
	if (others.length === 1) return others[0];
	return isStatic(others) ? others.reduce<number>((total, dimension) => total + dimension, 0) : undefined;
}

/**
 * `total` elements divided by the product of `factors`; names that are in both cancel out. undefined where it is not known
 * or no whole number.
 */
export function quotient(total: Shape, factors: Shape): Dimension {
	const left = total.filter((dimension) => typeof dimension !== "number");
	for (const factor of factors) {
		if (typeof factor === "number") continue;
		const at = factor === undefined ? -1 : left.indexOf(factor);
		if (at < 0) return undefined;
		left.splice(at, 1);
	}
	const ratio = numericProduct(total) / numericProduct(factors);
	if (!Number.isFinite(ratio)) return undefined;
	if (left.length === 0) return Number.isInteger(ratio) ? ratio : undefined;
	return left.length === 1 && ratio === 1 ? left[0] : undefined;
}

function numericProduct(dimensions: Shape): number {
	return dimensions.reduce<number>((all, dimension) => (typeof dimension === "number" ? all * dimension : all), 1);
}

/** The shape of tensors broadcast together (numpy's rules); undefined where the rank of one is unknown. */
export function broadcast(shapes: readonly (Shape | undefined)[]): Shape | undefined {
	let result: Shape | undefined = [];
	for (const shape of shapes) {
		if (shape === undefined) return undefined;
		result = result.length === 0 ? shape : broadcastTwo(result, shape);
	}
	return result;
}

function broadcastTwo(a: Shape, b: Shape): Shape {
	const [long, short] = a.length >= b.length ? [a, b] : [b, a];
	const missing = long.length - short.length;
	return long.map((dimension, axis) =>
		axis < missing ? dimension : broadcastDimension(dimension, short[axis - missing]),
	);
}

function broadcastDimension(a: Dimension, b: Dimension): Dimension {
	if (a === b || b === 1) return a;
	if (a === 1) return b;
	if (typeof a === "number") return typeof b === "number" ? undefined : a;
	return typeof b === "number" ? b : undefined;
}
