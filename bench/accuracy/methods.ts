import type { ApplyPrecisionRecipeOptions } from "qgraph";

/** A way to quantize the weights of a model. */
export interface Method {
	/** On the command line. */
	readonly name: string;
	/** In tables. */
	readonly title: string;
	/** The default of a recipe. */
	readonly recipe: Readonly<Record<string, string | number>>;
	readonly options: Partial<ApplyPrecisionRecipeOptions>;
	/** What it takes from calibration: mean squares of the inputs of weights, or second moments of these. */
	readonly statistics?: "importance" | "moments";
}

const BLOCKS = { precision: "16a4w_block", blockSize: 32 } as const;

function blocks(
	name: string,
	title: string,
	options: Method["options"],
	statistics?: NonNullable<Method["statistics"]>,
): Method {
	return { name, title, recipe: BLOCKS, options, ...(statistics === undefined ? {} : { statistics }) };
}

export const METHODS: readonly Method[] = [
	{
		name: "bq",
		title: "BQ, a float a block, AIMET's min-max",
		recipe: { ...BLOCKS, blockScales: "bq" },
		options: {},
	},
	blocks("max", "LPBQ `max`, AIMET's min-max", { fit: "max" }),
	...[2, 3, 4, 5, 6, 8].map((exponent) =>
		blocks(`search-${exponent}`, `LPBQ \`search\`, exponent ${exponent}`, { exponent }),
	),
	blocks("importance", "the same, squares weighted by those of the inputs", {}, "importance"),
	blocks("gptq-max", "GPTQ on the scales of `max`", { fit: "max" }, "moments"),
	blocks("gptq", "GPTQ on those of the weighted search", {}, "moments"),
	{
		name: "16a8w",
		title: "`16a8w`, int8 a channel",
		recipe: { precision: "16a8w" },
		options: {},
	},
];
