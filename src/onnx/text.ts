/**
 * Strings in a file are UTF-8 by the specification, but nothing stops a writer from storing other bytes. Those become
 * lone surrogates U+DC80..U+DCFF, one a byte, and turn back into the same bytes (as Python's "surrogateescape" does), so
 * that names survive unharmed.
 */
const ESCAPE = 0xdc00;

export function decodeText(bytes: Buffer): string {
	const text = bytes.toString("utf8");
	if (!text.includes("\ufffd") || Buffer.from(text, "utf8").equals(bytes)) return text;
	let escaped = "";
	for (let at = 0; at < bytes.length; ) {
		const length = sequenceLength(bytes, at);
		escaped +=
			length === 0 ? String.fromCharCode(ESCAPE + bytes[at]!) : bytes.subarray(at, at + length).toString("utf8");
		at += length || 1;
	}
	return escaped;
}

export function encodeText(text: string): Buffer {
	if (text.isWellFormed()) return Buffer.from(text, "utf8");
	const parts: Buffer[] = [];
	for (const character of text) {
		const code = character.codePointAt(0)!;
		const isEscape = code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff;
		parts.push(isEscape ? Buffer.from([code - ESCAPE]) : Buffer.from(character, "utf8"));
	}
	return Buffer.concat(parts);
}

/** Bytes of the valid UTF-8 sequence at `at`, 0 where there is none. */
function sequenceLength(bytes: Buffer, at: number): number {
	const lead = bytes[at]!;
	const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
	if (length === 0 || at + length > bytes.length) return 0;
	const sequence = bytes.subarray(at, at + length);
	return Buffer.from(sequence.toString("utf8"), "utf8").equals(sequence) ? length : 0;
}
