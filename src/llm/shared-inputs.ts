import type { RotaryTables } from "../passes/support/rotary.js";
import type { Attention, Decoder } from "./decoder.js";

/** What the front computes once for all layers, by the names of its outputs. */
export interface SharedInputs {
	/** Masks: one for each width of a window. */
	readonly masks: readonly { readonly name: string; readonly window: number }[];
	/** Rows of rotary tables. */
	readonly rotaries: readonly Rotary[];
	maskOf(attention: Attention): string;
	rotaryOf(attention: Attention): { readonly cos: string; readonly sin: string };
}

export interface Rotary {
	readonly cos: string;
	readonly sin: string;
	readonly form: NonNullable<Attention["form"]["rotary"]>;
}

/** Layers whose windows or tables are alike share them; the first ones have plain names. */
export function sharedInputsOf({ attentions }: Decoder): SharedInputs {
	const windows = [...new Set(attentions.map(({ form }) => form.window))];
	const masks = windows.map((window, index) => ({ name: numbered(MASK, index), window }));
	const rotaries = new Map<string, Rotary>();
	for (const { form } of attentions) {
		if (form.rotary === undefined) continue;
		const [index, key] = [rotaries.size, keyOf(form.rotary)];
		if (rotaries.has(key)) continue;
		rotaries.set(key, { cos: numbered(COS, index), sin: numbered(SIN, index), form: form.rotary });
	}
	return {
		masks,
		rotaries: [...rotaries.values()],
		maskOf: ({ form }) => masks.find(({ window }) => window === form.window)!.name,
		rotaryOf: ({ form }) => rotaries.get(keyOf(form.rotary!))!,
	};
}

const [MASK, COS, SIN] = ["attn_bias", "rope_cos", "rope_sin"] as const;

export function isMask(name: string): boolean {
	return name.startsWith(MASK);
}

export function isRotary(name: string): boolean {
	return name.startsWith(COS) || name.startsWith(SIN);
}

function numbered(name: string, index: number): string {
	return index === 0 ? name : `${name}_${index}`;
}

function keyOf({
	caches,
	rotatedSize,
	isInterleaved,
}: {
	caches: RotaryTables;
	rotatedSize: number;
	isInterleaved: boolean;
}): string {
	return [caches.cos.name, caches.sin.name, rotatedSize, isInterleaved].join();
}
