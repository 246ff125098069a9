/*
 * Sums of squared int4 codes over the rows of a block, for many channels at once; JavaScript takes six times as long.
 *
 *   for each 16 bytes of a row, which hold the codes of 32 channels, low and high half in turn:
 *     for each row: sums += squares[code], as uint16
 *     sums are put into the order of the channels and stored
 */
import {
	type Code,
	compileWasm,
	get,
	i8x16,
	i16x8,
	i32,
	instantiateWasm,
	repeatWhile,
	set,
	v128,
	type WasmInstance,
} from "./wasm.js";

/** Most rows of squares, up to 64 each, that 16 bits hold the sum of. */
export const MAX_KERNEL_ROWS = 1023;

/* Parameters in bytes, then the other locals. */
const [COLUMN, COLUMNS_END, WIDTH, ROWS_END, OUT] = [0, 1, 2, 3, 4] as const;
const [ROW, BYTES, LOW, HIGH] = [5, 6, 7, 8] as const;
/** Sums of channels 0, 2, .. 14; 16, 18, .. 30; 1, 3, .. 15; 17, 19, .. 31. */
const SUMS = [9, 10, 11, 12] as const;
const LOCALS = [i32, v128, v128, v128, v128, v128, v128, v128].map(({ type }) => type);

let wasm: WasmInstance | undefined;

/**
 * Sums the squares of every channel.
 *
 * @param packed codes [rows, channels], two a byte, the low half first; at most MAX_KERNEL_ROWS rows.
 * @param channels an even number.
 * @returns one sum a channel, valid until the next call.
 */
export function sumSquaresOfColumns(packed: Uint8Array, channels: number): Uint16Array {
	const end = packed.length;
	// The last 16 bytes of a row may reach into the next, and the last sums beyond those of the channels.
	const out = Math.ceil(end / 16) * 16 + 16;
	const needed = out + channels * 2 + 64;
	if (wasm === undefined || wasm.memory.byteLength < needed) {
		wasm = instantiateWasm(compileWasm(5, LOCALS, kernelCode()), needed);
	}
	new Uint8Array(wasm.memory).set(packed);
	wasm.run(0, channels / 2, channels / 2, end, out);
	return new Uint16Array(wasm.memory, out, channels);
}

function kernelCode(): Code {
	const squares = v128.const(...Array.from({ length: 16 }, (_, code) => ((code << 28) >> 28) ** 2));
	const addTo = (sum: number, term: Code): Code => set(sum, i16x8.add(get(sum), term));
	const [even, evenNext, odd, oddNext] = SUMS;
	return repeatWhile(
		i32.less(get(COLUMN), get(COLUMNS_END)),
		...SUMS.map((sum) => set(sum, v128.const(...new Array<number>(16).fill(0)))),
		set(ROW, get(COLUMN)),
		repeatWhile(
			i32.less(get(ROW), get(ROWS_END)),
			set(BYTES, v128.load(get(ROW))),
			set(LOW, i8x16.swizzle(squares, v128.and(get(BYTES), v128.const(...new Array<number>(16).fill(15))))),
			set(HIGH, i8x16.swizzle(squares, i8x16.shiftRight(get(BYTES), 4))),
			addTo(even, i16x8.fromLowBytes(get(LOW))),
			addTo(evenNext, i16x8.fromHighBytes(get(LOW))),
			addTo(odd, i16x8.fromLowBytes(get(HIGH))),
			addTo(oddNext, i16x8.fromHighBytes(get(HIGH))),
			set(ROW, i32.add(get(ROW), get(WIDTH))),
		),
		storeInTurn(even, odd, 0),
		storeInTurn(evenNext, oddNext, 32),
		set(OUT, i32.add(get(OUT), i32.const(64))),
		set(COLUMN, i32.add(get(COLUMN), i32.const(16))),
	);
}

/** Stores the lanes of two vectors of sums in turn: a0, b0, a1, b1, ... */
function storeInTurn(a: number, b: number, offset: number): Code {
	const half = (first: number) =>
		Array.from({ length: 16 }, (_, byte) => first + (byte >> 2) * 2 + (byte & 1) + (byte & 2 ? 16 : 0));
	return [0, 1].flatMap((index) =>
		v128.store(get(OUT), offset + index * 16, i8x16.shuffle(get(a), get(b), half(index * 8))),
	);
}
