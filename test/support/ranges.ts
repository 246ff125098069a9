import { version2File } from "./encodings.js";

/** An encodings file with 16-bit codes that reach over these ranges. */
export function rangesFile(ranges: Readonly<Record<string, readonly [lo: number, hi: number]>>): string {
	const entries = Object.entries(ranges).map(([name, [lo, hi]]) => {
		const [least, most] = [Math.min(lo, 0), Math.max(hi, 0)];
		const scale = (most - least) / 65535;
		return { name, output_dtype: "uint16", y_scale: scale, y_zero_point: Math.round(-least / scale) };
	});
	return version2File(...entries);
}
