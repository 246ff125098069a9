/**
 * Strings in a file are UTF-8 by the specification, but nothing stops a writer from storing other bytes. Those become
 * lone surrogates U+DC80..U+DCFF, one a byte, and turn back into the same bytes (as Python's "surrogateescape" does), so
 * that names survive unharmed.
 */
const ESCAPE = 0xdc00;
const ESCAPES = /[\udc80-\udcff]+/gu;

export function decodeText(bytes: Buffer): string {
	const text = bytes.toString("utf8");
	if (!text.includes("\ufffd") || Buffer.from(text, "utf8").equals(bytes)) return text;
	const units = Buffer.alloc(2 * bytes.length);
	let end = 0;
	for (let at = 0; at < bytes.length; ) {
		const from = at;
		for (let length = sequenceLength(bytes, at); length > 0; length = sequenceLength(bytes, at)) at += length;
		end += units.write(bytes.toString("utf8", from, at), end, "utf16le");
		for (; at < bytes.length && sequenceLength(bytes, at) === 0; at++) {
			end = units.writeUInt16LE(ESCAPE + bytes[at]!, end);
		}
	}
	return units.toString("utf16le", 0, end);
}

export function encodeText(text: string): Buffer {
	if (text.isWellFormed()) return Buffer.from(text, "utf8");
	const bytes = Buffer.alloc(3 * text.length);
	let [from, end] = [0, 0];
	for (const { 0: escapes, index } of text.matchAll(ESCAPES)) {
		end += bytes.write(text.slice(from, index), end, "utf8");
		for (let i = 0; i < escapes.length; i++) bytes[end++] = escapes.charCodeAt(i) - ESCAPE;
		from = index + escapes.length;
	}
	end += bytes.write(text.slice(from), end, "utf8");
	return bytes.subarray(0, end);
}

/** Bytes that `text` takes in a file. */
export function textByteLength(text: string): number {
	return text.isWellFormed() ? Buffer.byteLength(text, "utf8") : encodeText(text).byteLength;
}

/** A name as error messages show it: on one line and not too long. */
export function shown(name: string): string {
	const line = name.replace(/[\p{Cc}\p{Cs}\u2028\u2029]/gu, "\ufffd");
	return line.length > 100 ? `${line.slice(0, 60)}...${line.slice(-30)}` : line;
}

/** Bytes of the valid UTF-8 sequence at `at` (Unicode, table 3-7), 0 where there is none. */
function sequenceLength(bytes: Buffer, at: number): number {
	const lead = bytes[at] ?? 0xff;
	if (lead < 0x80) return 1;
	const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
	if (at + length > bytes.length) return 0;
	for (let i = 1; i < length; i++) {
		const lowest = i > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
		const highest = i > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
		if (bytes[at + i]! < lowest || bytes[at + i]! > highest) return 0;
	}
	return length;
}
