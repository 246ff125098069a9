import { globPattern } from "../../ir/names.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { Refusal } from "./eligibility.js";

/** Options that pick weights; the same on every pass that works weight by weight. */
export const SELECTION_OPTIONS = {
	include: {
		default: [] as readonly string[],
		describe: "only weights or nodes whose name matches one of these globs",
	},
	exclude: { default: [] as readonly string[], describe: "no weights or nodes whose name matches one of these globs" },
} as const;

export interface SelectionOptions {
	readonly include: readonly string[];
	readonly exclude: readonly string[];
}

/** Is the weight among those that the options pick? A glob matches the weight's name or its operator's. */
export function isSelected(site: Pick<WeightSite, "weightName" | "node">, options: SelectionOptions): boolean {
	const names = [site.weightName, site.node.name];
	const matches = (globs: readonly string[]) =>
		globs.map(globPattern).some((pattern) => names.some((name) => pattern.test(name)));
	return (options.include.length === 0 || matches(options.include)) && !matches(options.exclude);
}

/** What is said of a weight that the options do not pick. */
export function exclusionOf({ weightName }: Pick<WeightSite, "weightName">): Refusal {
	return { code: "weight/excluded", message: `weight '${weightName}' was not selected` };
}
