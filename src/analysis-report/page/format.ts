/** The SQNR that stands for equal tensors. */
const NO_NOISE_DB = 200;

/** `31.2 dB`. */
export function decibels(value: number | null): string {
	if (value === null) return "not measured";
	return value >= NO_NOISE_DB ? "exact" : `${decimal(value)} dB`;
}

/** ` ± 0.6 dB`; nothing where it is not known. */
export function byChance(error: number | null): string {
	return error === null ? "" : ` ± ${decimal(error)} dB`;
}

/** `31.2`, with a real minus sign. */
export function decimal(value: number, digits = 1): string {
	return value.toFixed(digits).replace("-", "−");
}

const BYTE_UNITS = ["B", "KB", "MB", "GB", "TB"];

/** What bytes are shown in: the unit of the largest, and its size. */
export function byteUnit(largest: number): { readonly name: string; readonly size: number } {
	const step = largest < 1 ? 0 : Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log10(largest) / 3));
	return { name: BYTE_UNITS[step]!, size: 1000 ** step };
}

/** `1.53 MB`. */
export function bytes(value: number): string {
	const { name, size } = byteUnit(value);
	const amount = value / size;
	return `${size === 1 ? amount : amount.toPrecision(amount < 100 ? 3 : 4).replace(/\.0+$/, "")} ${name}`;
}

/** `1,234,567`. */
export function count(value: number): string {
	return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 unit`, `2 units`. */
export function counted(value: number, noun: string): string {
	return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** At most so many characters, the middle left out: the ends of names tell layers apart. */
export function shortened(name: string, length: number): string {
	const characters = [...name];
	if (characters.length <= length) return name;
	const head = Math.max(1, Math.floor((length - 1) * 0.4));
	return `${characters.slice(0, head).join("")}…${characters.slice(-(length - 1 - head)).join("")}`;
}

/** What all names begin with, up to a dot or slash; empty where that is not worth leaving out. */
export function commonStart(names: readonly string[]): string {
	if (names.length < 2) return "";
	let start = names[0]!;
	for (const name of names) {
		while (!name.startsWith(start)) start = start.slice(0, -1);
	}
	return start.slice(0, Math.max(start.lastIndexOf("."), start.lastIndexOf("/")) + 1);
}

/** The value below which a share of the sorted values lies. */
export function quantile(sorted: readonly number[], share: number): number {
	return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))] ?? 0;
}

/** Steps of 1, 2 and 5 times a power of ten: the least that is not below. */
export function niceStep(value: number): number {
	const power = 10 ** Math.floor(Math.log10(value));
	const factor = [1, 2, 5, 10].find((step) => step * power >= value * 0.999)!;
	return factor * power;
}
