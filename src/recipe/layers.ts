/** A test for layer numbers. */
export type LayerTest = (layer: number, layerCount: number) => boolean;

/**
 * Reads layers: `3`, `0-3`, `first`, `last`, `-2` (the last but one), several with commas. Undefined where the text is none.
 */
export function parseLayers(text: string): LayerTest | undefined {
	const tests: LayerTest[] = [];
	for (const part of text.split(",").map((piece) => piece.trim())) {
		const test = parsePart(part);
		if (test === undefined) return undefined;
		tests.push(test);
	}
	return (layer, layerCount) => tests.some((test) => test(layer, layerCount));
}

function parsePart(part: string): LayerTest | undefined {
	if (part === "first") return (layer) => layer === 0;
	if (part === "last") return (layer, count) => layer === count - 1;
	if (/^-\d+$/.test(part)) return (layer, count) => layer === count + Number(part);
	const range = /^(\d+)(?:\s*-\s*(\d+|last))?$/.exec(part);
	if (range === null) return undefined;
	const first = Number(range[1]);
	const last = range[2] ?? range[1]!;
	if (last === "last") return (layer) => layer >= first;
	if (Number(last) < first) return undefined;
	return (layer) => layer >= first && layer <= Number(last);
}
