import { statSync } from "node:fs";
import { DataFile } from "../ir/data.js";

const PIECE_BYTES = 2 ** 20;

/** Is the file `candidate` a copy of `original` already? Then it can stay, and other models may go on using it. */
export function hasSameBytes(candidate: string, original: DataFile): boolean {
	const stat = statSync(candidate, { throwIfNoEntry: false });
	if (stat?.size !== original.size || !stat.isFile()) return false;
	const existing = new DataFile(candidate);
	if (existing.identity === original.identity) return true;
	const [a, b] = [Buffer.allocUnsafeSlow(PIECE_BYTES), Buffer.allocUnsafeSlow(PIECE_BYTES)];
	try {
		for (let at = 0; at < original.size; at += PIECE_BYTES) {
			const length = Math.min(PIECE_BYTES, original.size - at);
			existing.readInto(a.subarray(0, length), at);
			original.readInto(b.subarray(0, length), at);
			if (a.compare(b, 0, length, 0, length) !== 0) return false;
		}
		return true;
	} finally {
		existing.close();
	}
}
