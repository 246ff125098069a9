import type { Random } from "../quant/random.js";
import { type IntegerRange, rangeOfBits } from "../quant/range.js";
import type { RoundingMode } from "./rounding.js";

/** Element types of kernel tensors, by numpy's names. float16 is held in a Float32Array of float16 values. */
export interface ArrayTypes {
	readonly float32: Float32Array;
	readonly float16: Float32Array;
	readonly int8: Int8Array;
	readonly uint8: Uint8Array;
	readonly int16: Int16Array;
	readonly uint16: Uint16Array;
	readonly int32: Int32Array;
}

export type TensorType = keyof ArrayTypes;
export type TensorArray = ArrayTypes[TensorType];

/** One use of a linear operator: `M` rows (tokens), `K` inputs, `N` output channels, groups of `g` along K. */
export interface LinearConfig {
	/** M */
	readonly rows: number;
	/** K, a multiple of the group size; even where weights are packed two a byte. */
	readonly depth: number;
	/** N */
	readonly channels: number;
	/** g; K where there is one scale a channel. */
	readonly groupSize: number;
	/** Element type of the activation; one of the kernel's. */
	readonly activation: TensorType;
	/** Is a bias added? Only where the kernel has one. */
	readonly bias: boolean;
	/** Of codes that the kernel makes. */
	readonly rounding: RoundingMode;
}

const LENGTHS = {
	M: ({ rows }: LinearConfig) => rows,
	K: ({ depth }: LinearConfig) => depth,
	N: ({ channels }: LinearConfig) => channels,
	"K/2": ({ depth }: LinearConfig) => depth / 2,
	"K/g": ({ depth, groupSize }: LinearConfig) => depth / groupSize,
	"2": () => 2,
} as const;

/** One element of the data that a kernel is tried on. */
export type Draw = (random: Random, config: LinearConfig) => number;

/** A tensor that a kernel takes or gives: row-major, of these lengths. */
export interface TensorSpec {
	/** `activation`: that of the config. */
	readonly type: TensorType | "activation";
	readonly dims: readonly (keyof typeof LENGTHS)[];
	/** What it holds. */
	readonly about: string;
}

export interface InputSpec extends TensorSpec {
	/** Data as in the published tests, or such as occurs. */
	readonly typical: Draw;
	/** Data that float32 computes without rounding, in any order: small whole numbers times powers of two. */
	readonly exact: Draw;
	/** Is it only there where the config says `bias`? */
	readonly isBias?: true;
}

export type InputSpecs = Readonly<Record<string, InputSpec>>;

type ArrayOf<S extends TensorSpec> = S["type"] extends TensorType ? ArrayTypes[S["type"]] : TensorArray;

/** The arrays of a kernel's inputs, by name. */
export type InputsOf<S extends InputSpecs> = {
	readonly [Name in keyof S as S[Name]["isBias"] extends true ? never : Name]: ArrayOf<S[Name]>;
} & {
	readonly [Name in keyof S as S[Name]["isBias"] extends true ? Name : never]?: ArrayOf<S[Name]>;
};

/** Arrays by name, of any kernel. */
export type TensorArrays = Readonly<Record<string, TensorArray>>;

export function tensorShape({ dims }: TensorSpec, config: LinearConfig): number[] {
	return dims.map((name) => LENGTHS[name](config));
}

export function tensorType({ type }: TensorSpec, config: LinearConfig): TensorType {
	return type === "activation" ? config.activation : type;
}

/** What the constructor of a type's arrays is. */
export const ARRAY_CLASSES = {
	float32: Float32Array,
	float16: Float32Array,
	int8: Int8Array,
	uint8: Uint8Array,
	int16: Int16Array,
	uint16: Uint16Array,
	int32: Int32Array,
} as const;

/** The codes of an integer type. */
export function codeRange(type: TensorType): IntegerRange {
	const [, sign, digits] = /^(u?)int(\d+)$/.exec(type) ?? [];
	if (digits === undefined) throw new Error(`${type} has no codes`);

	return rangeOfBits(Number(digits), sign === "");
}
