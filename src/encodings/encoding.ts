import type { JsonValue, NumberArray } from "./json-reader.js";

/** Versions of the format that AIMET writes and QAIRT takes. */
export const ENCODINGS_VERSIONS = ["0.6.1", "1.0.0", "2.0.0", "2.1.0"] as const;

export type EncodingsVersion = (typeof ENCODINGS_VERSIONS)[number];

/** The type of codes: `int4`, `uint16`. */
export interface CodeType {
	readonly signed: boolean;
	readonly bits: number;
}

interface Named {
	/** Of the tensor in the float model. */
	readonly name: string;
	/** The section of the file; undefined from version 2.0.0 on, which has one for all. */
	readonly section: "parameter" | "activation" | undefined;
}

/** value = (code - zero point) * scale, with one scale a tensor, a channel or a block. Numbers as the file has them. */
export interface AffineEncoding extends Named {
	readonly kind: "affine";
	readonly codes: CodeType;
	readonly granularity: "tensor" | "channel" | "block";
	/** Of version 2 in the shape that the file has them in, before in one list: see `placement.ts` for its order. */
	readonly scales: NumberArray;
	/** In the codes' own type: 0 for symmetric int4. One a scale; undefined where all are 0. */
	readonly zeroPoints: Float64Array | undefined;
	/** The axis of the channels, or of blocks that which is cut into blocks; undefined before version 2.0.0. */
	readonly axis: number | undefined;
	/** 0 without blocks. */
	readonly blockSize: number;
}

/** value = code * integer of the block * scale of the channel. */
export interface LpbqEncoding extends Named {
	readonly kind: "lpbq";
	readonly codes: CodeType;
	/** Bits of the products of codes and integers: 8 for codes of 4. */
	readonly expandedBits: number;
	readonly channelScales: NumberArray;
	readonly integers: NumberArray;
	/** The axis that is cut into blocks; undefined before version 2.0.0. */
	readonly axis: number | undefined;
	/** Only version 2.1.0 says it. */
	readonly channelAxis: number | undefined;
	readonly blockSize: number;
}

/** Values that are floats of another type, `float16`, or scaled ones of 8 bits. */
export interface FloatEncoding extends Named {
	readonly kind: "float";
	readonly type: string;
}

export type TensorEncoding = AffineEncoding | LpbqEncoding | FloatEncoding;

/** What an encodings file says. */
export interface Encodings {
	readonly version: EncodingsVersion;
	/** Parameters first in version 0.6.1 and 1.0.0, else in the order of the file. */
	readonly entries: readonly TensorEncoding[];
	/** What else the file has beside the encodings: `producer`, `quantizer_args`. */
	readonly header: ReadonlyMap<string, JsonValue>;
	/** Fields of entries that no version has a meaning for, and how many entries have them. */
	readonly unknownFields: ReadonlyMap<string, number>;
}

/** `int4`, `uint16`. */
export function codeTypeName({ signed, bits }: CodeType): string {
	return `${signed ? "" : "u"}int${bits}`;
}

/** How far the unsigned view of a code lies above the code: AIMET's offsets count in that view. */
export function unsignedShift({ signed, bits }: CodeType): number {
	return signed ? 2 ** (bits - 1) : 0;
}
