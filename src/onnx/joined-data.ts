import { bytesData, type TensorData } from "../ir/data.js";

const SMALL_BYTES = 4096;

/** Bytes that stand in the file in several pieces: a packed field that was written in more than one go. */
export class JoinedData implements TensorData {
	byteLength = 0;
	readonly #parts: TensorData[] = [];
	/** Where each part starts. */
	readonly #starts: number[] = [];
	/** Small pieces, of which there may be millions, are gathered here. */
	#gathered: Buffer = Buffer.alloc(0);
	#gatheredBytes = 0;

	append(piece: TensorData): void {
		const { byteLength } = piece;
		if (byteLength > SMALL_BYTES) {
			this.#seal();
			this.#parts.push(piece);
			this.#starts.push(this.byteLength);
		} else {
			this.#reserve(byteLength);
			this.#gathered.set(piece.read(0, byteLength), this.#gatheredBytes);
			this.#gatheredBytes += byteLength;
		}
		this.byteLength += byteLength;
	}

	read(start: number, end: number): Uint8Array {
		this.#seal();
		const out = new Uint8Array(end - start);
		for (let index = this.#partAt(start), at = start; at < end; index++) {
			const from = at - this.#starts[index]!;
			const part = this.#parts[index]!;
			const to = Math.min(part.byteLength, from + end - at);
			out.set(part.read(from, to), at - start);
			at += to - from;
		}
		return out;
	}

	/** The last part that starts at or before `position`. */
	#partAt(position: number): number {
		let [low, high] = [0, this.#starts.length];
		while (high - low > 1) {
			const middle = (low + high) >> 1;
			if (this.#starts[middle]! <= position) low = middle;
			else high = middle;
		}
		return low;
	}

	/** Turns what was gathered into a part. */
	#seal(): void {
		if (this.#gatheredBytes === 0) return;
		this.#starts.push(this.byteLength - this.#gatheredBytes);
		this.#parts.push(bytesData(this.#gathered.subarray(0, this.#gatheredBytes)));
		this.#gathered = Buffer.alloc(0);
		this.#gatheredBytes = 0;
	}

	#reserve(count: number): void {
		const needed = this.#gatheredBytes + count;
		if (needed <= this.#gathered.byteLength) return;
		const grown = Buffer.allocUnsafeSlow(Math.max(64, needed * 2));
		grown.set(this.#gathered.subarray(0, this.#gatheredBytes));
		this.#gathered = grown;
	}
}
