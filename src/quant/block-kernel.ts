/*
 * The errors of one block at many scales: where nearly all the time of the search goes. WebAssembly's four-wide
 * instructions take 0.35 ns for a weight and a scale, JavaScript 1.2 ns.
 *
 *   for each record:
 *     record.power = Infinity
 *     for int = record.firstInt .. record.lastInt:
 *       scale = fround(int * record.channelScale)
 *       for each value, four at a time, in float32:
 *         t = value / scale                                      the division of quantizeCode
 *         error = t - clamp(rint(t), codeMin, 7)
 *         powers += weight * |error|^exponent, squares += weight * error^2
 *       power = powers * scale^exponent                          in float64, as all that follows
 *       if power < record.power: record.int, .power, .square = int, power, squares * scale^2
 *
 * On an exact half quantizeCode may take the other neighbour of t, which is as far away.
 */
import { type Code, compileWasm, f32, f32x4, f64, get, i32, repeatWhile, set, type WasmModule, when } from "./wasm.js";

/** A record: what is asked for a channel scale, and the answer. Byte offsets; 4 bytes each but for float64 power, square. */
export const RECORD = {
	channelScale: 0,
	firstInt: 4,
	lastInt: 8,
	int: 12,
	power: 16,
	square: 24,
	byteLength: 32,
} as const;

/* Parameters in bytes, then the other locals. */
const [VALUES_END, WEIGHTS, CURRENT, RECORDS_END] = [0, 1, 2, 3] as const;
const [VALUE, INT, SCALE, LIMIT, POWER, SCALES, POWERS, SQUARES, ERROR, ERROR_SQUARE] = [
	4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
] as const;
const LOCALS = [i32, i32, f32, f64, f64, f32x4, f32x4, f32x4, f32x4, f32x4].map(({ type }) => type);

const compiled = new Map<string, WasmModule>();

/**
 * Compiles the function, which takes addresses: the end of the values, which are float32 from 0 on and padded with zeros
 * to a multiple of 4; their weights; the first record and the end of the records. There is at least one of each, and one
 * integer in every record.
 *
 * @param exponent whole number from 2 to 8.
 * @param codeMin smallest code, -8 or -7.
 * @param weighted whether errors count by weight; otherwise weights are not read.
 * @throws RangeError for another exponent.
 */
export function blockKernel(exponent: number, codeMin: number, weighted: boolean): WasmModule {
	if (!Number.isInteger(exponent) || exponent < 2 || exponent > 8) {
		throw new RangeError(`exponent ${exponent} is not a whole number from 2 to 8`);
	}
	const key = `${exponent} ${codeMin} ${weighted}`;
	const module = compiled.get(key) ?? compileWasm(4, LOCALS, kernelCode(exponent, codeMin, weighted));
	compiled.set(key, module);
	return module;
}

function kernelCode(exponent: number, codeMin: number, weighted: boolean): Code {
	return repeatWhile(
		i32.less(get(CURRENT), get(RECORDS_END)),
		set(LIMIT, f64.const(Infinity)),
		set(INT, i32.load(get(CURRENT), RECORD.firstInt)),
		repeatWhile(
			i32.notGreater(get(INT), i32.load(get(CURRENT), RECORD.lastInt)),
			evaluate(exponent, codeMin, weighted),
			keepIfBetter(exponent),
			set(INT, i32.add(get(INT), i32.const(1))),
		),
		f64.store(get(CURRENT), RECORD.power, get(LIMIT)),
		set(CURRENT, i32.add(get(CURRENT), i32.const(RECORD.byteLength))),
	);
}

/** Sets SCALE for INT, and POWERS and SQUARES to the sums over all values. */
function evaluate(exponent: number, codeMin: number, weighted: boolean): Code {
	const nearest = f32x4.min(f32x4.max(f32x4.nearest(get(ERROR)), f32x4.const(codeMin)), f32x4.const(7));
	const weight = f32x4.load(i32.add(get(VALUE), get(WEIGHTS)));
	const addTo = (sum: number, term: Code): Code => {
		return set(sum, f32x4.add(get(sum), weighted ? f32x4.mul(term, weight) : term));
	};
	return [
		...set(SCALE, f32.mul(f32.fromI32(get(INT)), f32.load(get(CURRENT), RECORD.channelScale))),
		...set(SCALES, f32x4.splat(get(SCALE))),
		...set(POWERS, f32x4.const(0)),
		...set(SQUARES, f32x4.const(0)),
		...set(VALUE, i32.const(0)),
		...repeatWhile(
			i32.less(get(VALUE), get(VALUES_END)),
			set(ERROR, f32x4.div(f32x4.load(get(VALUE)), get(SCALES))),
			set(ERROR, f32x4.sub(get(ERROR), nearest)),
			set(ERROR_SQUARE, f32x4.mul(get(ERROR), get(ERROR))),
			addTo(POWERS, power(f32x4.mul, get(ERROR_SQUARE), f32x4.abs(get(ERROR)), exponent)),
			addTo(SQUARES, get(ERROR_SQUARE)),
			set(VALUE, i32.add(get(VALUE), i32.const(16))),
		),
	];
}

function keepIfBetter(exponent: number): Code {
	const scale = f64.fromF32(get(SCALE));
	const scaleSquare = f64.mul(scale, scale);
	return [
		...set(POWER, f64.mul(sumOfLanes(POWERS), power(f64.mul, scaleSquare, scale, exponent))),
		...when(
			f64.less(get(POWER), get(LIMIT)),
			set(LIMIT, get(POWER)),
			i32.store(get(CURRENT), RECORD.int, get(INT)),
			f64.store(get(CURRENT), RECORD.square, f64.mul(sumOfLanes(SQUARES), scaleSquare)),
		),
	];
}

/** base^exponent, of which the square is given. */
function power(multiply: (a: Code, b: Code) => Code, square: Code, base: Code, exponent: number): Code {
	let product = exponent % 2 === 0 ? square : multiply(square, base);
	for (let factors = 2 + (exponent % 2); factors < exponent; factors += 2) product = multiply(product, square);
	return product;
}

/** The sum of a vector's lanes, as float64. */
function sumOfLanes(vector: number): Code {
	const lane = (index: number): Code => f32x4.lane(get(vector), index);
	return f64.fromF32(f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3))));
}
