/*
 * The search for the integer scales of blocks, each a column of values, four columns at a time: where nearly all the time of
 * the fit goes. JavaScript takes nine times as long.
 *
 *   for each 4 of the 16 columns:
 *     unit = where the best scale usually is
 *     for each record, with a channel scale for every column:
 *       for int = the one nearest to unit, up to record.last, then down to record.first, smaller ones winning ties:
 *         scale = int * record.channelScale
 *         for each value, in float32:
 *           t = value / scale                                     the division of quantizeCode
 *           error = t - clamp(rint(t), codeMin, 7)
 *           powers += weight * |error|^exponent, squares += weight * error^2
 *           stop where, eight values further, powers are above the least so far in all four columns
 *         power = powers * (scale / unit)^exponent, square = squares * (scale / unit)^2
 *         if power is the least: record.int, best, square of it = int, power, square
 *       record.powers += best * unit^exponent, record.squares += square * unit^2, in float64
 *
 * On the way down, integers are left out where the largest or the smallest value alone, which is cut off, is too far from
 * its code. On an exact half quantizeCode may take the other neighbour of t, which is as far away.
 */
import {
	type Code,
	compileWasm,
	f32x4,
	f64x2,
	get,
	i8x16,
	i32,
	repeatWhile,
	set,
	v128,
	type WasmModule,
	when,
} from "./wasm.js";

/** Four vectors of four. */
export const SEARCH_COLUMNS = 16;

/** Rows are padded with zeros to a multiple of this. */
export const ROWS_AT_ONCE = 8;

/** A row of 16 float32. */
const ROW_BYTES = 4 * SEARCH_COLUMNS;

/** What is asked of all columns, and the answer. Offsets in bytes of rows of 16 float32, or of 16 float64 at the end. */
export const RECORD = {
	channelScale: 0,
	first: ROW_BYTES,
	last: 2 * ROW_BYTES,
	int: 3 * ROW_BYTES,
	/** Sums over searches of weight * |error|^exponent and weight * error^2. */
	powers: 4 * ROW_BYTES,
	squares: 6 * ROW_BYTES,
	byteLength: 8 * ROW_BYTES,
} as const;

/** Sums over searches of weight * value^2, which stand in front of the records: 16 float64. */
export const SIGNALS_BYTES = 2 * ROW_BYTES;

/** Where the best scale usually is: the largest value at 7.4 scales or the smallest at -8.4. Only speed depends on it. */
const TYPICAL_REACH = 7.4;

/** Below this a column counts as zeros. */
const SMALLEST_UNIT = 2 ** -100;

/** For rounding. */
const BOUND_SLACK = 1 - 1e-5;

/*
 * Parameters in bytes: the first row of the source, from one to the next, the end of the rows and of the padded ones in the
 * compact copy, which begins at 0, weights beside it, signals, the end of the records behind these.
 */
const [SOURCE, STRIDE, ROWS_END, PADDED_END, WEIGHTS, SIGNALS, RECORDS_END] = [0, 1, 2, 3, 4, 5, 6] as const;
const PARAMETERS = 7;
const [GROUP, ROW, CURRENT] = [7, 8, 9] as const;
const [MIN, MAX, MIN_WEIGHT, MAX_WEIGHT, SIGNAL, TYPICAL, UNIT] = [10, 11, 12, 13, 14, 15, 16] as const;
const [CHANNEL_SCALE, FIRST, LAST, START, INT, SCALE, UNIT_POWER] = [17, 18, 19, 20, 21, 22, 23] as const;
const [ERROR, SQUARE, POWERS, SQUARES, ACTIVE, BETTER] = [24, 25, 26, 27, 28, 29] as const;
const [BEST, BEST_INT, BEST_SQUARE] = [30, 31, 32] as const;
const LOCALS = [i32, i32, i32, ...new Array(23).fill(v128)].map(({ type }) => type);

const compiled = new Map<string, WasmModule>();

/**
 * @param exponent whole number from 2 to 8.
 * @param codeMin smallest code, -8 or -7.
 * @param weighted whether errors count by weight; otherwise weights are not read.
 * @throws RangeError for another exponent.
 */
export function columnKernel(exponent: number, codeMin: number, weighted: boolean): WasmModule {
	if (!Number.isInteger(exponent) || exponent < 2 || exponent > 8) {
		throw new RangeError(`exponent ${exponent} is not a whole number from 2 to 8`);
	}
	const key = `${exponent} ${codeMin} ${weighted}`;
	const module = compiled.get(key) ?? compileWasm(PARAMETERS, LOCALS, kernelCode({ exponent, codeMin, weighted }));
	compiled.set(key, module);
	return module;
}

interface Variant {
	readonly exponent: number;
	readonly codeMin: number;
	readonly weighted: boolean;
}

const advance = (pointer: number, by: Code): Code => set(pointer, i32.add(get(pointer), by));

function kernelCode(variant: Variant): Code {
	return [
		...copyRows(),
		...repeatWhile(
			i32.less(get(GROUP), i32.const(ROW_BYTES)),
			lookAtColumns(variant),
			set(CURRENT, i32.add(get(SIGNALS), i32.const(SIGNALS_BYTES))),
			repeatWhile(
				i32.less(get(CURRENT), get(RECORDS_END)),
				searchRecord(variant),
				advance(CURRENT, i32.const(RECORD.byteLength)),
			),
			advance(GROUP, i32.const(16)),
		),
	];
}

/** Copies the rows together, for those of a wide weight lie where a cache keeps only a few of them. */
function copyRows(): Code {
	const quarters = [0, 16, 32, 48];
	return [
		...repeatWhile(
			i32.less(get(ROW), get(ROWS_END)),
			...quarters.map((at) => v128.store(get(ROW), at, v128.load(get(SOURCE), at))),
			advance(SOURCE, get(STRIDE)),
			advance(ROW, i32.const(ROW_BYTES)),
		),
		...when(
			i32.less(get(ROW), get(PADDED_END)),
			repeatWhile(
				i32.less(get(ROW), get(PADDED_END)),
				...quarters.map((at) => v128.store(get(ROW), at, f32x4.const(0))),
				advance(ROW, i32.const(ROW_BYTES)),
			),
		),
	];
}

/** Adds four numbers, times a factor of each, to float64 sums of all columns. */
function addToSums(base: Code, offset: number, numbers: Code, factor: (half: Code) => Code): Code {
	const at = i32.add(base, i32.add(get(GROUP), get(GROUP)));
	return [0, 1].flatMap((half) => {
		const added = f64x2.mul(f64x2.fromLowF32(halfOf(numbers, half)), factor(halfOf(get(UNIT), half)));
		return v128.store(at, offset + 16 * half, f64x2.add(v128.load(at, offset + 16 * half), added));
	});
}

/** Puts the first or the second eight bytes of a vector to the front. */
function halfOf(vector: Code, half: number): Code {
	const back = [8, 9, 10, 11, 12, 13, 14, 15];
	return half === 0 ? vector : i8x16.shuffle(vector, vector, [...back, ...back]);
}

/** Finds the extremes of the columns, with their weights, the units and the signals. */
function lookAtColumns({ weighted }: Variant): Code {
	const value = get(ERROR);
	const weight = v128.load(i32.add(get(ROW), get(WEIGHTS)));
	const takeExtreme = (extreme: number, weightOf: number, isBeyond: Code): Code => [
		...(weighted ? set(weightOf, v128.select(weight, get(weightOf), isBeyond)) : []),
		...set(extreme, v128.select(value, get(extreme), isBeyond)),
	];
	const squared = f32x4.mul(value, value);
	const outward = (extreme: Code, reach: number) => f32x4.mul(extreme, f32x4.const(1 / reach));
	const nothing = f32x4.less(get(TYPICAL), f32x4.const(SMALLEST_UNIT));
	return [
		...[MIN, MAX, MIN_WEIGHT, MAX_WEIGHT, SIGNAL].flatMap((local) => set(local, f32x4.const(0))),
		...set(ROW, get(GROUP)),
		...repeatWhile(
			i32.less(get(ROW), get(PADDED_END)),
			set(ERROR, v128.load(get(ROW))),
			takeExtreme(MIN, MIN_WEIGHT, f32x4.less(value, get(MIN))),
			takeExtreme(MAX, MAX_WEIGHT, f32x4.less(get(MAX), value)),
			set(SIGNAL, f32x4.add(get(SIGNAL), weighted ? f32x4.mul(squared, weight) : squared)),
			advance(ROW, i32.const(ROW_BYTES)),
		),
		...set(TYPICAL, f32x4.max(outward(get(MAX), TYPICAL_REACH), outward(get(MIN), -TYPICAL_REACH - 1))),
		...set(UNIT, v128.select(f32x4.const(1), get(TYPICAL), nothing)),
		...addToSums(get(SIGNALS), 0, get(SIGNAL), () => f64x2.const(1)),
	];
}

function searchRecord(variant: Variant): Code {
	const record = i32.add(get(CURRENT), get(GROUP));
	const nearest = f32x4.nearest(f32x4.div(get(TYPICAL), get(CHANNEL_SCALE)));
	const step = (by: number): Code => set(INT, f32x4.add(get(INT), f32x4.const(by)));
	const anyActive = v128.anyTrue(get(ACTIVE));
	const stepDown = [...step(-1), ...scaleOfInt(variant), ...set(ACTIVE, isPossible(variant))];
	return [
		...set(CHANNEL_SCALE, v128.load(record, RECORD.channelScale)),
		...set(FIRST, v128.load(record, RECORD.first)),
		...set(LAST, v128.load(record, RECORD.last)),
		...set(START, f32x4.min(f32x4.max(nearest, get(FIRST)), get(LAST))),
		...set(BEST, f32x4.const(Infinity)),
		...set(BEST_INT, get(START)),
		...set(BEST_SQUARE, f32x4.const(0)),
		...set(INT, get(START)),
		...set(ACTIVE, f32x4.notLess(get(LAST), get(INT))),
		...repeatWhile(
			anyActive,
			scaleOfInt(variant),
			evaluate(variant, (power) => f32x4.less(power, get(BEST))),
			step(1),
			set(ACTIVE, f32x4.notLess(get(LAST), get(INT))),
		),
		...set(INT, get(START)),
		...stepDown,
		...when(
			anyActive,
			repeatWhile(
				anyActive,
				evaluate(variant, (power) => f32x4.notLess(get(BEST), power)),
				stepDown,
			),
		),
		...v128.store(record, RECORD.int, get(BEST_INT)),
		...addToSums(get(CURRENT), RECORD.powers, get(BEST), (unit) => {
			const [wide, square] = [f64x2.fromLowF32(unit), f64x2.mul(f64x2.fromLowF32(unit), f64x2.fromLowF32(unit))];
			return power(f64x2.mul, square, wide, variant.exponent);
		}),
		...addToSums(get(CURRENT), RECORD.squares, get(BEST_SQUARE), (unit) =>
			f64x2.mul(f64x2.fromLowF32(unit), f64x2.fromLowF32(unit)),
		),
	];
}

/** Sets SCALE for INT, and UNIT_POWER to (scale / unit)^exponent. */
function scaleOfInt({ exponent }: Variant): Code {
	return [
		...set(SCALE, f32x4.mul(get(INT), get(CHANNEL_SCALE))),
		...set(ERROR, f32x4.div(get(SCALE), get(UNIT))),
		...set(SQUARE, f32x4.mul(get(ERROR), get(ERROR))),
		...set(UNIT_POWER, power(f32x4.mul, get(SQUARE), get(ERROR), exponent)),
	];
}

/** Columns in which INT is allowed, and neither of the extremes alone is off by more than the best so far. */
function isPossible({ exponent, codeMin, weighted }: Variant): Code {
	const tooFar = (extreme: Code, code: number, weight: number): Code => {
		const beyond = f32x4.max(f32x4.const(0), f32x4.sub(f32x4.div(extreme, get(SCALE)), f32x4.const(code)));
		const term = powerOf(beyond, exponent);
		const loss = f32x4.mul(weighted ? f32x4.mul(term, get(weight)) : term, get(UNIT_POWER));
		return f32x4.less(get(BEST), f32x4.mul(loss, f32x4.const(BOUND_SLACK)));
	};
	const negative = f32x4.sub(f32x4.const(0), get(MIN));
	const either = v128.or(tooFar(get(MAX), 7, MAX_WEIGHT), tooFar(negative, -codeMin, MIN_WEIGHT));
	return v128.andNot(f32x4.notLess(get(INT), get(FIRST)), either);
}

/** Adds up the errors for SCALE, as long as a column may be better, and keeps what is. */
function evaluate({ exponent, codeMin, weighted }: Variant, isBetter: (power: Code) => Code): Code {
	const rounded = f32x4.min(f32x4.max(f32x4.nearest(get(ERROR)), f32x4.const(codeMin)), f32x4.const(7));
	const whole = f32x4.mul(get(POWERS), get(UNIT_POWER));
	const oneRow = (index: number): Code => {
		const weight = v128.load(i32.add(get(ROW), get(WEIGHTS)), index * ROW_BYTES);
		const addTo = (sum: number, term: Code): Code =>
			set(sum, f32x4.add(get(sum), weighted ? f32x4.mul(term, weight) : term));
		return [
			...set(ERROR, f32x4.div(v128.load(get(ROW), index * ROW_BYTES), get(SCALE))),
			...set(ERROR, f32x4.sub(get(ERROR), rounded)),
			...set(SQUARE, f32x4.mul(get(ERROR), get(ERROR))),
			...addTo(POWERS, power(f32x4.mul, get(SQUARE), f32x4.abs(get(ERROR)), exponent)),
			...addTo(SQUARES, get(SQUARE)),
		];
	};
	const ratio = f32x4.div(get(SCALE), get(UNIT));
	const keep = (best: number, value: Code): Code => set(best, v128.select(value, get(best), get(BETTER)));
	return [
		...set(POWERS, f32x4.const(0)),
		...set(SQUARES, f32x4.const(0)),
		...set(ROW, get(GROUP)),
		...repeatWhile(
			i32.and(i32.less(get(ROW), get(PADDED_END)), v128.anyTrue(get(BETTER))),
			Array.from({ length: ROWS_AT_ONCE }, (_, index) => oneRow(index)).flat(),
			set(BETTER, v128.and(isBetter(whole), get(ACTIVE))),
			advance(ROW, i32.const(ROWS_AT_ONCE * ROW_BYTES)),
		),
		...set(ERROR, ratio),
		...keep(BEST, whole),
		...keep(BEST_INT, get(INT)),
		...keep(BEST_SQUARE, f32x4.mul(get(SQUARES), f32x4.mul(get(ERROR), get(ERROR)))),
	];
}

/** base^exponent, of which the square is given. */
function power(multiply: (a: Code, b: Code) => Code, square: Code, base: Code, exponent: number): Code {
	let product = exponent % 2 === 0 ? square : multiply(square, base);
	for (let factors = 2 + (exponent % 2); factors < exponent; factors += 2) product = multiply(product, square);
	return product;
}

/** The same, of a base that is computed once: into ERROR. */
function powerOf(base: Code, exponent: number): Code {
	const held = get(ERROR);
	return [...set(ERROR, base), ...power(f32x4.mul, f32x4.mul(held, held), held, exponent)];
}
