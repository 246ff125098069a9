import { PRECISION_FACTS } from "./precision.js";
import { type Recipe, type Rule, type Setting, settingOf } from "./recipe.js";
import { yaml } from "./yaml.js";

/**
 * A recipe as YAML that parseRecipe reads.
 *
 * @param comments what to say behind names that rules list.
 */
export function writeRecipe(recipe: Recipe, comments: ReadonlyMap<string, string> = new Map()): string {
	const { name, description, default: standard, rules } = recipe;
	const content = {
		name,
		...(description === undefined ? {} : { description }),
		default: settingFields(standard, settingOf(standard.precision)),
		rules: rules.map((rule) => ruleFields(rule, standard)),
	};
	const { Document, visit } = yaml();
	const document = new Document(content);
	visit(document, {
		Scalar(key, scalar) {
			const comment = key === "key" ? undefined : comments.get(String(scalar.value));
			if (comment !== undefined) scalar.comment = ` ${comment}`;
		},
	});
	return document.toString({ lineWidth: 0, collectionStyle: "any" });
}

function ruleFields({ match, setting, priority, reason }: Rule, standard: Setting): Record<string, unknown> {
	const conditions = Object.entries(match).map(([key, value]) => [key, isSingle(key, value) ? value[0] : value]);
	return {
		match: Object.fromEntries(conditions),
		...settingFields(setting, settingOf(setting.precision, { blockSize: standard.blockSize })),
		...(priority === 0 ? {} : { priority }),
		...(reason === undefined ? {} : { reason }),
	};
}

function isSingle(key: string, value: unknown): value is readonly [unknown] {
	return key !== "shape" && Array.isArray(value) && value.length === 1;
}

/** What differs from what a reader would take for granted. */
function settingFields(setting: Setting, granted: Setting): Record<string, unknown> {
	const { precision, blockSize, blockScales, granularity } = setting;
	const { isBlock } = PRECISION_FACTS[precision];
	return {
		precision,
		...(isBlock && blockSize !== granted.blockSize ? { blockSize } : {}),
		...(isBlock && blockScales !== granted.blockScales ? { blockScales } : {}),
		...(granularity !== granted.granularity ? { granularity } : {}),
	};
}
