import { closest, distance } from "fastest-levenshtein";

/** ` (did you mean 'known'?)` where a known name is close to `name`, else nothing. */
export function suggestion(name: string, known: readonly string[]): string {
	const nearest = closest(name, known as string[]);
	return distance(name, nearest) <= Math.max(2, name.length / 3) ? ` (did you mean '${nearest}'?)` : "";
}
