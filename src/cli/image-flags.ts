import type { Argv } from "yargs";
import { type ImageOptions, QGraphError } from "../index.js";
import type { Arguments } from "./command.js";

/** The names of {@link imageFlags}. */
export const IMAGE_FLAGS = ["size", "mean", "std", "order", "fit"].map((name) => `image-${name}`);

/** How images become samples. */
export function imageFlags(builder: Argv): Argv {
	return builder
		.option("image-size", {
			type: "string",
			requiresArg: true,
			describe: "Of images, 224x224 [default: the input's]",
		})
		.option("image-mean", {
			type: "string",
			requiresArg: true,
			describe: "Taken from channels, which lie from 0 to 1",
		})
		.option("image-std", { type: "string", requiresArg: true, describe: "What channels are divided by then" })
		.option("image-order", { choices: ["rgb", "bgr"] as const, describe: "Order of channels [default: rgb]" })
		.option("image-fit", {
			choices: ["cover", "stretch", "pad"] as const,
			describe: "What becomes of images of another shape [default: cover]",
		});
}

/** `--image-...`; throws `cli/key-value` for what is no number. */
export function imageOptions(args: Arguments): ImageOptions {
	const size = numbers(args, "image-size", "x", 2);
	return {
		size: size && [size[0]!, size[1]!],
		mean: numbers(args, "image-mean", ",", 3),
		std: numbers(args, "image-std", ",", 3),
		order: args["image-order"] as ImageOptions["order"],
		fit: args["image-fit"] as ImageOptions["fit"],
	};
}

/** Numbers in one argument: so many, or of a list one for all. */
function numbers(args: Arguments, flag: string, separator: string, count: number): number[] | undefined {
	const text = args[flag] as string | undefined;
	if (text === undefined) return undefined;
	const found = text.split(separator).map(Number);
	const isList = separator === ",";
	const isRight = found.length === count || (isList && found.length === 1);
	if (isRight && found.every((value) => (isList ? Number.isFinite(value) : Number.isInteger(value) && value > 0)))
		return found;
	const expected = isList ? "0.5 or 0.485,0.456,0.406" : "224x224";
	throw new QGraphError("cli/key-value", `'--${flag} ${text}' is not of the form --${flag} ${expected}`);
}
