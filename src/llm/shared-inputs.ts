import type { RotaryForm, RotaryTables } from "../passes/support/rotary.js";
import type { Attention, Decoder } from "./decoder.js";

/** What the front computes once for all layers, by the names of its outputs. */
export interface SharedInputs {
	/** Masks: one for each width of a window. */
	readonly masks: readonly { readonly name: string; readonly window: number }[];
	/** Rows of rotary tables. */
	readonly rotaries: readonly Rotary[];
	maskOf(attention: Attention): string;
	rotaryOf(use: RotaryUse): { readonly cos: string; readonly sin: string };
}

export interface Rotary {
	readonly cos: string;
	readonly sin: string;
	readonly form: RotaryUse;
}

/** How something is turned, and by which tables. */
export interface RotaryUse extends RotaryForm {
	readonly caches: RotaryTables;
}

/** Layers whose windows or tables are alike share them; the first ones have plain names. */
export function sharedInputsOf({ attentions, rotaries: outside }: Decoder): SharedInputs {
	const windows = [...new Set(attentions.map(({ form }) => form.window))];
	const masks = windows.map((window, index) => ({ name: numbered(MASK, index), window }));
	const rotaries = new Map<string, Rotary>();
	const uses = [
		...attentions.flatMap(({ form }) => form.rotary ?? []),
		...outside.map(({ call: { caches, form } }) => ({ ...form, caches })),
	];
	for (const form of uses) {
		const [index, key] = [rotaries.size, keyOf(form)];
		if (rotaries.has(key)) continue;
		rotaries.set(key, { cos: numbered(COS, index), sin: numbered(SIN, index), form });
	}
	return {
		masks,
		rotaries: [...rotaries.values()],
		maskOf: ({ form }) => masks.find(({ window }) => window === form.window)!.name,
		rotaryOf: (use) => rotaries.get(keyOf(use))!,
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

function keyOf({ caches, rotatedSize, isInterleaved }: RotaryUse): string {
	return [caches.cos.name, caches.sin.name, rotatedSize, isInterleaved].join();
}
