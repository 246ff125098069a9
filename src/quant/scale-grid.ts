import { roundHalfEven } from "./rounding.js";

/**
 * Which scale of a tensor an element has: scales have the tensor's rank, 1 along axes where they do not change, the number
 * of blocks along `blockAxis`, and else the tensor's length. A shape of [] is one scale.
 */
export interface ScaleGrid {
	readonly shape: readonly number[];
	readonly scaleShape: readonly number[];
	readonly blockAxis: number | undefined;
	/** 0 without blocks. */
	readonly blockSize: number;
}

/** Elements from `start` to `end`, counted from the first asked for: element i has scale `scale + (i - start) * step`. */
type RunVisitor = (start: number, end: number, scale: number, step: 0 | 1) => void;

/** Calls back for runs of the elements [first, first + count), in row-major order, that share a scale or have consecutive ones. */
export function eachScaleRun(grid: ScaleGrid, first: number, count: number, visit: RunVisitor): void {
	const axes = runAxes(grid);
	const { inner, length, blockSize } = axes.last;
	const rowLength = inner * length;
	const end = first + count;
	for (let at = first; at < end; ) {
		const row = Math.floor(at / rowLength);
		const inRow = at - row * rowLength;
		const scale = outerScale(axes.outer, row);
		const rowEnd = Math.min(end, (row + 1) * rowLength);
		if (inner === 1 && blockSize === 1) {
			visit(at - first, rowEnd - first, scale + inRow, 1);
			at = rowEnd;
			continue;
		}
		const index = Math.floor(inRow / (inner * blockSize));
		const runEnd = Math.min(rowEnd, row * rowLength + (index + 1) * inner * blockSize);
		visit(at - first, runEnd - first, scale + index, 0);
		at = runEnd;
	}
}

/** An axis as it is walked: its length, elements below one index, scales below one scale index, elements to a scale. */
interface RunAxis {
	readonly length: number;
	readonly inner: number;
	readonly stride: number;
	/** 1: each index has its own scale; as long as the axis where scales do not change. */
	readonly blockSize: number;
}

/** The last axis along which scales change, and those in front of it, the innermost first. */
function runAxes({ shape, scaleShape, blockAxis, blockSize }: ScaleGrid): {
	readonly last: RunAxis;
	readonly outer: readonly RunAxis[];
} {
	const axes: RunAxis[] = [];
	let inner = 1;
	let stride = 1;
	for (let axis = shape.length - 1; axis >= 0; axis--) {
		const length = shape[axis]!;
		const scales = scaleShape[axis] ?? 1;
		const size = axis === blockAxis ? blockSize : scales === 1 ? length : 1;
		if (axes.length > 0 || scales > 1 || axis === 0) axes.push({ length, inner, stride, blockSize: Math.max(1, size) });
		inner *= length;
		stride *= scales;
	}
	const [last = { length: 1, inner: 1, stride: 1, blockSize: 1 }, ...outer] = axes;
	return { last, outer };
}

function outerScale(outer: readonly RunAxis[], row: number): number {
	let scale = 0;
	let rest = row;
	for (const { length, blockSize, stride } of outer) {
		const index = rest % length;
		rest = (rest - index) / length;
		scale += Math.floor(index / blockSize) * stride;
	}
	return scale;
}

/** The type of codes, and what they are quantized with. */
export interface GridCodes {
	readonly signed: boolean;
	readonly bits: number;
	/** Of scale `index`, in float64 or float32; above 0. */
	readonly scaleAt: (index: number) => number;
	/** In the type of the codes; undefined where all are 0. */
	readonly zeroPoints: Float64Array | undefined;
}

/**
 * The codes of the elements [first, first + values.length) of a tensor. Up to 16 bits as AIMET makes them, in float32:
 * clamp(round(fround(fround(value / scale) + zero point)), 0, 2^bits - 1) in the unsigned view, an exact half up; above,
 * where float32 would lose bits, rint(fround(value / scale)) + zero point, as for the biases of its ONNX models.
 *
 * @returns one code an element, in the codes' own type.
 */
export function quantizeOnGrid(values: Float32Array, first: number, grid: ScaleGrid, codes: GridCodes): Float64Array {
	const { signed, bits, scaleAt, zeroPoints } = codes;
	const result = new Float64Array(values.length);
	const shift = signed ? 2 ** (bits - 1) : 0;
	const largest = 2 ** bits - 1;
	const isWide = bits > 16;
	eachScaleRun(grid, first, values.length, (start, end, firstScale, step) => {
		let scale = Math.fround(scaleAt(firstScale));
		let zero = (zeroPoints?.[firstScale] ?? 0) + shift;
		for (let at = start; at < end; at++) {
			if (step === 1) {
				scale = Math.fround(scaleAt(firstScale + at - start));
				zero = (zeroPoints?.[firstScale + at - start] ?? 0) + shift;
			}
			const quotient = Math.fround(values[at]! / scale);
			const rounded = isWide ? roundHalfEven(quotient) + zero : Math.floor(Math.fround(quotient + zero) + 0.5);
			result[at] = Math.min(Math.max(rounded, 0), largest) - shift;
		}
	});
	return result;
}

/** What codes stand for, fround((code - zero point) * scale), of the elements from `first` on; {@link quantizeOnGrid} back. */
export function dequantizeOnGrid(
	codes: ArrayLike<number>,
	first: number,
	grid: ScaleGrid,
	{ scaleAt, zeroPoints }: Pick<GridCodes, "scaleAt" | "zeroPoints">,
): Float32Array {
	const result = new Float32Array(codes.length);
	eachScaleRun(grid, first, codes.length, (start, end, firstScale, step) => {
		for (let at = start; at < end; at++) {
			const scale = firstScale + (at - start) * step;
			result[at] = (codes[at]! - (zeroPoints?.[scale] ?? 0)) * Math.fround(scaleAt(scale));
		}
	});
	return result;
}
