import type { TensorData } from "../ir/data.js";
import type { MESSAGES, MessageName } from "./schema.js";

/** Bytes of the file: small ones in memory, big ones as a range that nobody has read. */
export type Payload = TensorData;

/** Runs of fields that the schema does not know, tags included. */
export type UnknownFields = Payload[];

type ScalarValue = {
	int32: number;
	/** A bigint only where a number cannot hold it. */
	int64: number | bigint;
	uint64: number | bigint;
	/** A NaN other than 0x7fc00000 keeps its bits in a Float32Array of one element. */
	float: number | Float32Array;
	double: number;
	string: string;
	bytes: Payload;
};

type Single<T> = T extends keyof ScalarValue ? ScalarValue[T] : T extends MessageName ? WireRecord<T> : never;

type FieldValue<F> = F extends { readonly packed: true }
	? Payload
	: F extends { readonly repeated: true; readonly type: infer T }
		? Single<T>[]
		: F extends { readonly type: infer T }
			? Single<T>
			: never;

/**
 * A message as it stands in the file: a field is present exactly where the file has it. Packed fields are their bytes.
 * One interface type a message, derived from the schema.
 */
export type WireRecord<M extends MessageName> = {
	-readonly [F in keyof (typeof MESSAGES)[M]]?: FieldValue<(typeof MESSAGES)[M][F]> | undefined;
} & { $unknown?: UnknownFields | undefined };

/** A record of any message, for code that goes by the schema. */
export type AnyRecord = { [field: string]: unknown; $unknown?: UnknownFields | undefined };
