import { QGraphError } from "../diagnostics.js";

/** What quantized weights may take. */
export type Budget =
	/** Bits a weight, scales counted. */
	| { readonly bitsPerWeight: number }
	/** Bytes of the whole model. */
	| { readonly bytes: number }
	/** Mean signal to noise of the weights, dB, to be reached with as few bytes as possible. */
	| { readonly minSqnrDb: number };

const UNITS: Readonly<Record<string, number>> = {
	B: 1,
	KB: 1e3,
	MB: 1e6,
	GB: 1e9,
	KiB: 2 ** 10,
	MiB: 2 ** 20,
	GiB: 2 ** 30,
};

/** Reads `4.5bpw`, `900MB` or `1.2GiB`; throws `recipe/budget` for anything else. */
export function parseBudget(text: string): Budget {
	const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]+)$/.exec(text.trim()) ?? [];
	const value = Number(number);
	if (value > 0 && unit.toLowerCase() === "bpw") return { bitsPerWeight: value };
	const factor = Object.entries(UNITS).find(([name]) => name.toLowerCase() === unit.toLowerCase())?.[1];
	if (value > 0 && factor !== undefined) return { bytes: value * factor };
	throw new QGraphError("recipe/budget", `the budget is '${text}', expected such as 4.5bpw, 900MB or 1.2GiB`);
}
