import { QGraphError } from "../diagnostics.js";

/** Bytes that are read a piece at a time. */
export interface JsonSource {
	/** What to call it in messages. */
	readonly name: string;
	readonly byteLength: number;
	read(start: number, end: number): Uint8Array;
}

/** Numbers in lists of one length, one in the other: those of `[[1, 2, 3], [4, 5, 6]]` have shape [2, 3]; of a lone number, []. */
export interface NumberArray {
	readonly shape: readonly number[];
	readonly values: Float64Array;
}

export type JsonValue =
	| null
	| boolean
	| number
	| string
	| NumberArray
	| readonly JsonValue[]
	| ReadonlyMap<string, JsonValue>;

export function isNumberArray(value: JsonValue | undefined): value is NumberArray {
	return typeof value === "object" && value !== null && "values" in value && value.values instanceof Float64Array;
}

const PIECE_BYTES = 2 ** 20;
/** Deeper than any encodings file nests its lists. */
const MAX_DEPTH = 64;
/** Spellings of Python's json module that JSON does not have. */
const PYTHON_NUMBERS: Readonly<Record<string, number>> = {
	NaN: Number.NaN,
	Infinity: Number.POSITIVE_INFINITY,
	"-Infinity": Number.NEGATIVE_INFINITY,
};
/** As JSON writes numbers. */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const [QUOTE, BACKSLASH, COMMA, COLON, NEWLINE] = [0x22, 0x5c, 0x2c, 0x3a, 0x0a];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Reads JSON of any length front to back. Who knows what comes asks for it member by member; lists of numbers come as
 * arrays of 8 bytes a number, so that the text is never in memory. Throws `encodings/not-json`, with the line.
 */
export class JsonReader {
	readonly #source: JsonSource;
	#piece: Buffer = Buffer.alloc(0);
	#pieceStart = 0;
	#at = 0;
	#line = 1;

	constructor(source: JsonSource) {
		this.#source = source;
	}

	/** Is an object next? */
	isAtObject(): boolean {
		return this.#peek() === OPEN_OBJECT;
	}

	/** Is a list next? */
	isAtList(): boolean {
		return this.#peek() === OPEN_LIST;
	}

	/** Calls back for each member of the object that comes next; `visit` must read or skip the value. */
	object(visit: (key: string) => void): void {
		this.#sequence(OPEN_OBJECT, CLOSE_OBJECT, () => {
			const key = this.#string();
			this.#expect(COLON);
			visit(key);
		});
	}

	/** Calls back for each element of the list that comes next; `visit` must read or skip it. */
	list(visit: () => void): void {
		this.#sequence(OPEN_LIST, CLOSE_LIST, visit);
	}

	/** The value that comes next. Lists that hold numbers must hold nothing else, in lists of one length. */
	value(depth = 0): JsonValue {
		if (depth > MAX_DEPTH) throw this.#failure("lists or objects are nested too deep");
		const next = this.#peek();
		if (next === QUOTE) return this.#string();
		if (next === OPEN_OBJECT) {
			const members = new Map<string, JsonValue>();
			this.object((key) => members.set(key, this.value(depth + 1)));
			return members;
		}
		if (next === OPEN_LIST) return this.#listValue(depth);
		return this.#scalar();
	}

	/** Passes over the value that comes next. */
	skip(depth = 0): void {
		if (depth > MAX_DEPTH) throw this.#failure("lists or objects are nested too deep");
		const next = this.#peek();
		if (next === QUOTE) this.#string();
		else if (next === OPEN_OBJECT) this.object(() => this.skip(depth + 1));
		else if (next === OPEN_LIST) this.list(() => this.skip(depth + 1));
		else this.#scalar();
	}

	/** Throws where anything but white space follows. */
	end(): void {
		if (this.#peek() !== undefined) throw this.#failure("there is more after the end of the value");
	}

	#listValue(depth: number): JsonValue {
		const numbers = new GrowingNumbers();
		const others: JsonValue[] = [];
		const shape = this.#numberList(numbers, others, depth);
		if (others.length > 0) return others;
		return { shape, values: numbers.taken() };
	}

	/** Reads a list into `numbers`, or where it holds something else into `others`, and returns its shape. */
	#numberList(numbers: GrowingNumbers, others: JsonValue[], depth: number): readonly number[] {
		if (depth > MAX_DEPTH) throw this.#failure("lists or objects are nested too deep");
		let length = 0;
		let inner: readonly number[] | undefined;
		this.list(() => {
			const next = this.#peek();
			let shape: readonly number[] = [];
			if (others.length > 0 || next === QUOTE || next === OPEN_OBJECT) others.push(this.value(depth + 1));
			else if (next === OPEN_LIST) {
				const below: JsonValue[] = [];
				shape = this.#numberList(numbers, below, depth + 1);
				if (below.length > 0) others.push(below);
			} else {
				const scalar = this.#scalar();
				if (typeof scalar === "number") numbers.push(scalar);
				else others.push(scalar);
			}
			if (others.length > 0 && numbers.length > 0) throw this.#failure("a list holds numbers and other things");
			if (others.length === 0 && inner !== undefined && inner.join() !== shape.join()) {
				throw this.#failure("lists of numbers that stand side by side have different lengths");
			}
			inner ??= shape;
			length++;
		});
		return [length, ...(inner ?? [])];
	}

	#sequence(open: number, close: number, element: () => void): void {
		this.#expect(open);
		if (this.#peek() === close) {
			this.#at++;
			return;
		}
		for (;;) {
			element();
			const next = this.#peek();
			this.#at++;
			if (next === close) return;
			if (next !== COMMA) {
				this.#at--;
				throw this.#failure(`found ${this.#found()}, expected ',' or '${String.fromCharCode(close)}'`);
			}
		}
	}

	#expect(wanted: number): void {
		if (this.#peek() !== wanted) {
			throw this.#failure(`found ${this.#found()}, expected '${String.fromCharCode(wanted)}'`);
		}
		this.#at++;
	}

	#string(): string {
		if (this.#peek() !== QUOTE) throw this.#failure(`found ${this.#found()}, expected a string`);
		const bytes: number[] = [];
		for (let at = this.#at + 1; ; at++) {
			const byte = this.#byte(at);
			if (byte === undefined || byte === NEWLINE) throw this.#failure("a string does not end");
			bytes.push(byte);
			if (byte === BACKSLASH) bytes.push(this.#byte(++at) ?? QUOTE);
			else if (byte === QUOTE) {
				this.#at = at + 1;
				return this.#parsed(`"${Buffer.from(bytes).toString("utf8")}`) as string;
			}
		}
	}

	#scalar(): null | boolean | number {
		const text = this.#word();
		if (text === "") throw this.#failure(`found ${this.#found()}, expected a value`);
		const number = NUMBER.test(text) ? Number(text) : undefined;
		const value = number ?? PYTHON_NUMBERS[text] ?? this.#parsed(text);
		this.#at += text.length;
		return value as null | boolean | number;
	}

	/** The letters, digits and signs that come next, at most a piece of them. */
	#word(): string {
		if (this.#byte(this.#at) === undefined) return "";
		const start = this.#at - this.#pieceStart;
		let end = start;
		while (end < this.#piece.byteLength && isWordByte(this.#piece[end]!)) end++;
		if (end === this.#piece.byteLength && start > 0 && this.#pieceStart + end < this.#source.byteLength) {
			this.#load(this.#at);
			return this.#word();
		}
		return this.#piece.toString("latin1", start, end);
	}

	#parsed(text: string): unknown {
		try {
			return JSON.parse(text);
		} catch {
			throw this.#failure(`found ${text.slice(0, 40)}, expected a value`);
		}
	}

	/** The next byte that is not white space. */
	#peek(): number | undefined {
		for (;;) {
			const end = this.#piece.byteLength;
			let at = this.#at - this.#pieceStart;
			if (at < 0 || at >= end) {
				if (this.#at >= this.#source.byteLength) return undefined;
				this.#load(this.#at);
				continue;
			}
			while (at < end) {
				const byte = this.#piece[at]!;
				if (byte === NEWLINE) this.#line++;
				else if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) break;
				at++;
			}
			this.#at = this.#pieceStart + at;
			if (at < end) return this.#piece[at];
		}
	}

	#byte(at: number): number | undefined {
		const inPiece = at - this.#pieceStart;
		if (inPiece >= 0 && inPiece < this.#piece.byteLength) return this.#piece[inPiece];
		if (at >= this.#source.byteLength) return undefined;
		this.#load(at);
		return this.#piece[0];
	}

	#load(at: number): void {
		const bytes = this.#source.read(at, Math.min(at + PIECE_BYTES, this.#source.byteLength));
		this.#piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		this.#pieceStart = at;
	}

	#found(): string {
		const byte = this.#peek();
		return byte === undefined ? "the end of the file" : `'${String.fromCharCode(byte)}'`;
	}

	#failure(what: string): QGraphError {
		const { name } = this.#source;
		return new QGraphError(
			"encodings/not-json",
			`'${name}' is not JSON that can be read: line ${this.#line}: ${what}`,
			{
				file: name,
			},
		);
	}
}

/** Letters, digits, '+', '-' and '.'. */
function isWordByte(byte: number): boolean {
	const letter = byte | 0x20;
	return (
		(byte >= 0x30 && byte <= 0x39) ||
		(letter >= 0x61 && letter <= 0x7a) ||
		(byte >= 0x2b && byte <= 0x2e && byte !== COMMA)
	);
}

/** An array of numbers that grows. */
export class GrowingNumbers {
	#values: Float64Array = new Float64Array(16);
	length = 0;

	push(value: number): void {
		if (this.length === this.#values.length) {
			const larger = new Float64Array(this.length * 2);
			larger.set(this.#values);
			this.#values = larger;
		}
		this.#values[this.length++] = value;
	}

	/** The numbers in an array of their own. */
	taken(): Float64Array {
		return this.#values.slice(0, this.length);
	}
}
