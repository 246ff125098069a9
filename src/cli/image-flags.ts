import { type ImageOptions, QGraphError } from "../index.js";
import type { Arguments } from "./command.js";

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
