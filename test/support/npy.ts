import { readFileSync } from "node:fs";

export type NpyData = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array;

export interface Npy<T extends NpyData> {
	readonly shape: readonly number[];
	readonly data: T;
}

const types = { "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "<u4": Uint32Array, "|u1": Uint8Array };

/** Reads an .npy file of version 1 in C order, whose elements must have the type that is asked for. */
export function readNpy<T extends NpyData>(path: string, type: { new (buffer: ArrayBuffer): T; name: string }): Npy<T> {
	const bytes = readFileSync(path);
	const headerEnd = 10 + bytes.readUInt16LE(8);
	const header = bytes.toString("latin1", 10, headerEnd);
	const [, descr, order, sizes] = /'descr': '(.*?)', 'fortran_order': (\w+), 'shape': \((.*?)\)/.exec(header) ?? [];
	if (types[descr as keyof typeof types]?.name !== type.name || order !== "False") {
		throw new Error(`${path} is not ${type.name} in C order: ${header}`);
	}
	const shape = sizes!
		.split(",")
		.map(Number)
		.slice(0, sizes!.endsWith(",") ? -1 : undefined);
	return { shape, data: new type(new Uint8Array(bytes.subarray(headerEnd)).buffer) };
}
