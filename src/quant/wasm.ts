/*
 * A very small WebAssembly assembler: only what the kernels beside it need. Every function gives the bytes
 * of an expression or a statement, operands first, since the machine is a stack machine.
 * Opcodes: WebAssembly specification 2.0, section 5.4 (binary format of instructions).
 */

/** Instructions that leave a value on the stack (an expression) or nothing (a statement). */
export type Code = readonly number[];

/** The part of the global that is used here; TypeScript declares it in its `dom` library only. */
declare const WebAssembly: {
	Module: new (bytes: Uint8Array) => WasmModule;
	Instance: new (module: WasmModule) => { readonly exports: unknown };
};

/** A compiled function with its memory, to be instantiated any number of times. */
export interface WasmModule {
	readonly [Symbol.toStringTag]: string;
}

export interface WasmInstance {
	readonly memory: ArrayBuffer;
	readonly run: (...parameters: number[]) => void;
}

export const get = (local: number): Code => [0x20, local];
export const set = (local: number, value: Code): Code => [...value, 0x21, local];

/** Runs `body`, and again as long as `condition` is true. */
export const repeatWhile = (condition: Code, ...body: Code[]): Code => [
	...[0x03, 0x40, ...body.flat(), ...condition, 0x0d, 0, 0x0b],
];

/** Runs `body` if `condition` is true. */
export const when = (condition: Code, ...body: Code[]): Code => [...condition, 0x04, 0x40, ...body.flat(), 0x0b];

const unary =
	(...opcode: number[]) =>
	(a: Code): Code => [...a, ...opcode];
const binary =
	(...opcode: number[]) =>
	(a: Code, b: Code): Code => [...a, ...b, ...opcode];
const load =
	(...opcode: number[]) =>
	(address: Code, offset = 0): Code => [...address, ...opcode, ...leb(offset)];
const store =
	(...opcode: number[]) =>
	(address: Code, offset: number, value: Code): Code => [...address, ...value, ...opcode, ...leb(offset)];

/** Also the conditions: 0 is false. Numbers are compared as unsigned. */
export const i32 = {
	type: 0x7f,
	const: (value: number): Code => [0x41, ...signedLeb(value)],
	load: load(0x28, 2),
	store: store(0x36, 2),
	less: binary(0x49),
	notGreater: binary(0x4d),
	add: binary(0x6a),
	and: binary(0x71),
	shiftRight: (a: Code, bits: number): Code => [...a, ...i32.const(bits), 0x76],
} as const;

export const f32 = {
	type: 0x7d,
	const: (value: number): Code => [0x43, ...new Uint8Array(new Float32Array([value]).buffer)],
	load: load(0x2a, 2),
	store: store(0x38, 2),
	add: binary(0x92),
	mul: binary(0x94),
	fromI32: unary(0xb3),
} as const;

export const f64 = {
	type: 0x7c,
	const: (value: number): Code => [0x44, ...new Uint8Array(new Float64Array([value]).buffer)],
	store: store(0x39, 3),
	less: binary(0x63),
	mul: binary(0xa2),
	fromF32: unary(0xbb),
} as const;

/** Four float32 lanes. */
export const f32x4 = {
	type: 0x7b,
	load: load(0xfd, 0, 4),
	/** One number in all lanes. */
	loadSplat: load(0xfd, 0x09, 2),
	const: (value: number): Code => [0xfd, 12, ...new Uint8Array(new Float32Array(4).fill(value).buffer)],
	splat: unary(0xfd, 0x13),
	lane: (vector: Code, index: number): Code => [...vector, 0xfd, 0x1f, index],
	/** Of four int32 lanes. */
	fromI32: unary(0xfd, ...leb(0xfa)),
	/** Of two float64 lanes; the last two lanes are 0. */
	fromF64: unary(0xfd, 0x5e),
	/** -1 in lanes where it holds, else 0. */
	equal: binary(0xfd, 0x41),
	less: binary(0xfd, 0x43),
	notLess: binary(0xfd, 0x46),
	/** To integers, halves to even. */
	nearest: unary(0xfd, 0x6a),
	abs: unary(0xfd, ...leb(0xe0)),
	add: binary(0xfd, ...leb(0xe4)),
	sub: binary(0xfd, ...leb(0xe5)),
	mul: binary(0xfd, ...leb(0xe6)),
	div: binary(0xfd, ...leb(0xe7)),
	/** Of equal numbers, or when b is NaN, a. */
	min: binary(0xfd, ...leb(0xea)),
	max: binary(0xfd, ...leb(0xeb)),
} as const;

/** Two float64 lanes. */
export const f64x2 = {
	/** One number in both lanes. */
	loadSplat: load(0xfd, 0x0a, 3),
	const: (value: number): Code => [0xfd, 12, ...new Uint8Array(new Float64Array(2).fill(value).buffer)],
	/** Of the first two of four float32 lanes. */
	fromLowF32: unary(0xfd, 0x5f),
	/** Of the first two of four int32 lanes, taken as unsigned. */
	fromLowI32: unary(0xfd, ...leb(0xff)),
	/** To integers, halves to even. */
	nearest: unary(0xfd, ...leb(0x94)),
	abs: unary(0xfd, ...leb(0xec)),
	add: binary(0xfd, ...leb(0xf0)),
	sub: binary(0xfd, ...leb(0xf1)),
	mul: binary(0xfd, ...leb(0xf2)),
	div: binary(0xfd, ...leb(0xf3)),
	max: binary(0xfd, ...leb(0xf5)),
} as const;

/** Four int32 lanes. */
export const i32x4 = {
	splat: unary(0xfd, 0x11),
	lane: (vector: Code, index: number): Code => [...vector, 0xfd, 0x1b, index],
	/** Of two float64 lanes, cut off; the last two lanes are 0. */
	fromF64: unary(0xfd, ...leb(0xfd)),
	/** Of four float32 lanes, cut off. */
	fromF32: unary(0xfd, ...leb(0xf8)),
	/** Of the first or the last four of eight uint16 lanes. */
	fromLowI16: unary(0xfd, ...leb(0xa9)),
	fromHighI16: unary(0xfd, ...leb(0xaa)),
	/** 1 where no lane is 0, else 0: an i32. */
	allTrue: unary(0xfd, ...leb(0xa3)),
} as const;

/** 128 bits, whatever they are. */
export const v128 = {
	type: 0x7b,
	load: load(0xfd, 0, 4),
	store: store(0xfd, 11, 4),
	/** Stores the first of four 32-bit lanes. */
	storeLane0: (address: Code, offset: number, vector: Code): Code => [
		...address,
		...vector,
		0xfd,
		0x5a,
		2,
		...leb(offset),
		0,
	],
	const: (...bytes: number[]): Code => [0xfd, 12, ...bytes],
	and: binary(0xfd, 0x4e),
	/** a and not b. */
	andNot: binary(0xfd, 0x4f),
	or: binary(0xfd, 0x50),
	xor: binary(0xfd, 0x51),
	/** The bits of `a` where those of `mask` are set, else those of `b`. */
	select: (a: Code, b: Code, mask: Code): Code => [...a, ...b, ...mask, 0xfd, 0x52],
	/** 1 where any bit is set, else 0: an i32. */
	anyTrue: unary(0xfd, 0x53),
} as const;

/** Sixteen bytes. */
export const i8x16 = {
	/** Lanes of a, counted from 0, and of b, counted from 16. */
	shuffle: (a: Code, b: Code, lanes: readonly number[]): Code => [...a, ...b, 0xfd, 13, ...lanes],
	/** The bytes of `table` that `indices`, 0 to 15, name. */
	swizzle: (table: Code, indices: Code): Code => [...table, ...indices, 0xfd, 14],
	shiftRight: (a: Code, bits: number): Code => [...a, ...i32.const(bits), 0xfd, 0x6d],
	/** Of the eight int16 lanes of a and those of b, each the nearest of 0..255. */
	fromI16: binary(0xfd, 0x66),
} as const;

/** Eight uint16 lanes. */
export const i16x8 = {
	/** Of the first or the last eight bytes. */
	fromLowBytes: unary(0xfd, ...leb(0x89)),
	fromHighBytes: unary(0xfd, ...leb(0x8a)),
	/** Of the four int32 lanes of a and those of b, each the nearest of 0..65535. */
	fromI32: binary(0xfd, ...leb(0x86)),
	const: (value: number): Code => v128.const(...new Uint8Array(new Uint16Array(8).fill(value).buffer)),
	shiftRight: (a: Code, bits: number): Code => [...a, ...i32.const(bits), 0xfd, ...leb(0x8d)],
	add: binary(0xfd, ...leb(0x8e)),
} as const;

/**
 * Compiles one function.
 *
 * @param parameters number of its i32 parameters, which are locals 0 and up.
 * @param locals types of its other locals, which are numbered on from there.
 */
export function compileWasm(parameters: number, locals: readonly number[], body: Code): WasmModule {
	const code = [locals.length, ...locals.flatMap((type) => [1, type]), ...body, 0x0b];
	return new WebAssembly.Module(
		new Uint8Array([
			...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
			...section(1, [0x60, parameters, ...new Array<number>(parameters).fill(i32.type), 0]),
			...section(3, [0]),
			...section(5, [0, 1]),
			...section(7, [...name("memory"), 2, 0], [...name("run"), 0, 0]),
			...section(10, [...leb(code.length), ...code]),
		]),
	);
}

/** Instantiates a compiled function with at least `byteLength` bytes of memory, all 0. */
export function instantiateWasm(module: WasmModule, byteLength: number): WasmInstance {
	const { memory, run } = new WebAssembly.Instance(module).exports as {
		readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
		readonly run: (...parameters: number[]) => void;
	};
	memory.grow(Math.ceil(byteLength / 0x10000));
	return { memory: memory.buffer, run };
}

function section(id: number, ...entries: Code[]): Code {
	const content = [entries.length, ...entries.flat()];
	return [id, ...leb(content.length), ...content];
}

function name(text: string): Code {
	return [text.length, ...Array.from(text, (letter) => letter.charCodeAt(0))];
}

function leb(value: number): Code {
	return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

function signedLeb(value: number): Code {
	return value >= -0x40 && value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)];
}
