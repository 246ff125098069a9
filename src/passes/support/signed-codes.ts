import { computedData, type TensorData } from "../../ir/data.js";

/** The codes in the middle of the unsigned range, as many as a word holds: XOR with them takes the middle away. */
const MIDDLES = { 2: 0xaaaaaaaa, 4: 0x88888888, 8: 0x80808080 } as const;

/**
 * The first `count` unsigned codes of `data` minus 2^(bits - 1), as signed ones: codes 0 to 15 become -8 to 7. What is left of
 * the last byte is 0.
 */
export function signedCodes(data: TensorData, bits: 2 | 4 | 8, count: number): TensorData {
	const byteLength = Math.ceil((count * bits) / 8);
	const used = (count * bits) % 8;
	return computedData(byteLength, (start, end) => {
		const words = new Uint32Array(Math.ceil((end - start) / 4));
		const bytes = new Uint8Array(words.buffer, 0, end - start);
		bytes.set(data.read(start, end));
		const middles = MIDDLES[bits];
		for (let i = 0; i < words.length; i++) words[i]! ^= middles;
		if (used > 0 && end === byteLength && end > start) bytes[bytes.length - 1]! &= 2 ** used - 1;
		return bytes;
	});
}
