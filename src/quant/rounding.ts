/** Nearest integer, an exact half to the even neighbour: 0.5 -> 0, 1.5 -> 2, -2.5 -> -2 (numpy's `rint`, ONNX's rounding). */
export function roundHalfEven(value: number): number {
	const floor = Math.floor(value);
	const fraction = value - floor;
	if (fraction < 0.5) return floor;
	if (fraction > 0.5) return floor + 1;
	return floor % 2 === 0 ? floor : floor + 1;
}

/** Nearest integer, an exact half away from zero: 0.5 -> 1, 2.5 -> 3, -2.5 -> -3 (C's `round`). */
export function roundHalfAway(value: number): number {
	const magnitude = Math.abs(value);
	const floor = Math.floor(magnitude);
	const rounded = magnitude - floor < 0.5 ? floor : floor + 1;
	return value < 0 ? -rounded : rounded;
}
