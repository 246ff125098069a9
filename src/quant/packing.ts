/*
 * Sub-byte integers as ONNX stores them: the first element in the lowest bits of a byte, the next above it, over the
 * flattened tensor; unused bits of the last byte are 0. Signed codes are two's complement.
 *
 * The bulk goes through tables holding the elements of every byte value, in whole words wherever the arrays are aligned.
 * Words are taken to be little-endian, as on every platform that qgraph supports.
 */

/** Bytes that `count` elements of `bits` bits take. */
export function packedByteLength(count: number, bits: 2 | 4): number {
	return Math.ceil((count * bits) / 8);
}

/**
 * Unpacks `count` int4 elements (-8..7) starting at element `elementOffset`, which may be odd.
 *
 * @param out receives the elements in its first `count` places; a new array when left out.
 * @throws RangeError when the bytes or `out` are too short.
 */
export function unpackInt4(
	bytes: Uint8Array,
	elementOffset: number,
	count: number,
	out: Int8Array = new Int8Array(count),
): Int8Array {
	unpack(bytes, elementOffset, count, out, int4);
	return out;
}

/** Unpacks `count` uint4 elements (0..15); see {@link unpackInt4}. */
export function unpackUint4(
	bytes: Uint8Array,
	elementOffset: number,
	count: number,
	out: Uint8Array = new Uint8Array(count),
): Uint8Array {
	unpack(bytes, elementOffset, count, out, uint4);
	return out;
}

/** Unpacks `count` uint2 elements (0..3); see {@link unpackInt4}. */
export function unpackUint2(
	bytes: Uint8Array,
	elementOffset: number,
	count: number,
	out: Uint8Array = new Uint8Array(count),
): Uint8Array {
	unpack(bytes, elementOffset, count, out, uint2);
	return out;
}

/** Packs int4 codes, two a byte; only the low four bits of each code are kept. */
export function packInt4(codes: Int8Array): Uint8Array {
	return pack4(codes);
}

/** Packs uint4 codes, two a byte; only the low four bits of each code are kept. */
export function packUint4(codes: Uint8Array): Uint8Array {
	return pack4(codes);
}

/** Packs uint2 codes, four a byte; only the low two bits of each code are kept. */
export function packUint2(codes: Uint8Array): Uint8Array {
	return pack2(codes);
}

/** The elements of byte value v are elements[v * perByte ..]; words[v] holds all of them as one integer. */
interface Expansion {
	readonly perByte: number;
	readonly elements: Int8Array;
	readonly words: Uint16Array | Uint32Array;
}

const int4 = expansion(4, 28);
const uint4 = expansion(4, 0);
const uint2 = expansion(2, 0);

function expansion(bits: 2 | 4, signShift: number): Expansion {
	const perByte = 8 / bits;
	const elements = new Int8Array(256 * perByte);
	for (let i = 0; i < elements.length; i++) {
		const code = (Math.floor(i / perByte) >>> (bits * (i % perByte))) & (2 ** bits - 1);
		elements[i] = (code << signShift) >> signShift;
	}
	const words = bits === 4 ? new Uint16Array(elements.buffer) : new Uint32Array(elements.buffer);
	return { perByte, elements, words };
}

function unpack(
	bytes: Uint8Array,
	elementOffset: number,
	count: number,
	out: Int8Array | Uint8Array,
	{ perByte, elements, words }: Expansion,
): void {
	if (elementOffset < 0 || elementOffset + count > bytes.length * perByte || count > out.length) {
		throw new RangeError(`${count} elements from ${elementOffset}, of ${bytes.length} bytes, into ${out.length}`);
	}
	let done = 0;
	const unpackTo = (end: number): void => {
		for (; done < end; done++) {
			const element = elementOffset + done;
			const place = element % perByte;
			out[done] = elements[bytes[(element - place) / perByte]! * perByte + place]!;
		}
	};

	unpackTo(Math.min(count, (perByte - (elementOffset % perByte)) % perByte));
	if ((out.byteOffset + done) % 4 === 0) {
		const byteStart = (elementOffset + done) / perByte;
		const byteCount = Math.floor((count - done) / perByte);
		const wholeBytes = bytes.subarray(byteStart, byteStart + byteCount);
		done +=
			words instanceof Uint16Array
				? expandPairs(wholeBytes, out, done, words)
				: expandFours(wholeBytes, out, done, words);
	}
	unpackTo(count);
}

/** Two elements a byte, four bytes at a time; returns the number of elements written. */
function expandPairs(bytes: Uint8Array, out: Int8Array | Uint8Array, start: number, words: Uint16Array): number {
	const source = int32View(bytes);
	const target = new Int32Array(out.buffer, out.byteOffset + start, source.length * 2);
	for (let i = 0; i < source.length; i++) {
		const word = source[i]!;
		target[2 * i] = words[word & 255]! | (words[(word >>> 8) & 255]! << 16);
		target[2 * i + 1] = words[(word >>> 16) & 255]! | (words[word >>> 24]! << 16);
	}
	return source.length * 8;
}

/** Four elements a byte; returns the number of elements written. */
function expandFours(bytes: Uint8Array, out: Int8Array | Uint8Array, start: number, words: Uint32Array): number {
	const target = new Uint32Array(out.buffer, out.byteOffset + start, bytes.length);
	for (let i = 0; i < bytes.length; i++) target[i] = words[bytes[i]!]!;
	return bytes.length * 4;
}

function pack4(codes: Int8Array | Uint8Array): Uint8Array {
	const source = int32View(codes);
	const target = new Uint16Array(Math.ceil(codes.length / 4));
	for (let i = 0; i < source.length; i++) {
		const word = source[i]! & 0x0f0f0f0f;
		const pairs = word | (word >>> 4);
		target[i] = (pairs & 0xff) | ((pairs >>> 8) & 0xff00);
	}
	const bytes = new Uint8Array(target.buffer, 0, packedByteLength(codes.length, 4));
	for (let i = source.length * 4; i < codes.length; i++) bytes[i >>> 1]! |= (codes[i]! & 15) << (4 * (i & 1));
	return bytes;
}

function pack2(codes: Int8Array | Uint8Array): Uint8Array {
	const bytes = new Uint8Array(packedByteLength(codes.length, 2));
	for (let i = 0; i < codes.length; i++) bytes[i >>> 2]! |= (codes[i]! & 3) << (2 * (i & 3));
	return bytes;
}

/** The whole 32-bit words of a byte array; a view when it is aligned, a copy when not. */
function int32View(bytes: Int8Array | Uint8Array): Int32Array {
	const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
	return new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2);
}
