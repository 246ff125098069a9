import type { Argv } from "yargs";
import { OBSERVERS, type ObserverName } from "../index.js";
import type { Arguments } from "./command.js";
import { IMAGE_FLAGS, imageFlags, imageOptions } from "./image-flags.js";

/** Flags of the commands that calibrate a model and quantize it with what they find. */
export function calibrationFlags(builder: Argv): Argv {
	return imageFlags(builder)
		.option("observer", { choices: OBSERVERS, describe: "How ranges are made of what was seen [default: min-max]" })
		.option("headroom", {
			type: "number",
			requiresArg: true,
			describe: "By what part ranges reach further than what was seen [default: 0.25 for 16-bit activations, else 0]",
		})
		.option("gptq", {
			type: "boolean",
			default: true,
			describe: "Choose codes of weights by GPTQ on the samples; --no-gptq: by their own error alone",
		})
		.option("compensate", {
			type: "boolean",
			default: true,
			describe:
				"Let weights of 4 bits make good what those before them got wrong: samples run once more for every layer; --no-compensate: do not, which saves time",
		});
}

/** What they say. */
export function calibrationOptions(args: Arguments) {
	return {
		observer: args.observer as ObserverName | undefined,
		headroom: args.headroom as number | undefined,
		images: imageOptions(args),
		gptq: args.gptq !== false,
		compensate: args.compensate !== false,
	};
}

/** The first of these flags that was given, as it is written; undefined where none was. */
export function givenCalibrationFlag(args: Arguments): string | undefined {
	const given = ["observer", "headroom", ...IMAGE_FLAGS].find((flag) => args[flag] !== undefined);
	const denied = ["gptq", "compensate"].find((flag) => args[flag] === false);
	return given !== undefined ? `--${given}` : denied && `--no-${denied}`;
}
