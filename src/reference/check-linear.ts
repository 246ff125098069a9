import { QGraphError } from "../diagnostics.js";
import {
	type Comparison,
	compareCase,
	type Disagreement,
	type KernelCase,
	type KernelFunction,
	toleranceOf,
} from "./compare.js";
import { allRows } from "./define-linear.js";
import type { Kernel } from "./kernel.js";
import { kernelCommand } from "./kernel-command.js";
import { KERNELS } from "./kernels.js";
import { findDisagreement } from "./random-cases.js";
import type { RoundingMode } from "./rounding.js";
import type { LinearConfig } from "./tensor-spec.js";

export interface CheckLinearConfig {
	/**
	 * The implementation: a function, or a command that reads and writes .npz files, as `python kernel.py {in} {out}`;
	 * see {@link kernelCommand}.
	 */
	readonly run: KernelFunction | string;
	/** How the implementation rounds, where it is not as the kernel's published form does. */
	readonly rounding?: RoundingMode | undefined;
	/** Random configs to try beside the published ones; default 100, of a command 20. */
	readonly random?: number | undefined;
	/** Of all data; default 0. */
	readonly seed?: number | undefined;
	/** Also the shapes that are there to be timed, of which 16 rows are compared; default false. */
	readonly performance?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called before every published config, and once for the random ones. */
	readonly onCase?: ((config: LinearConfig | "random") => void) | undefined;
}

export interface LinearCheck {
	readonly kernel: string;
	readonly passed: boolean;
	/** Published configs that agreed, each on typical and on exact data. */
	readonly published: number;
	/** Random configs that agreed. */
	readonly random: number;
	/** Largest difference on typical data that was allowed. */
	readonly largestDifference: number;
	/** What was found first; nothing is run after it. */
	readonly disagreement: Disagreement | null;
}

/**
 * Compares an implementation with the reference: on every published config with typical data at the published tolerance,
 * then with data that float32 computes without rounding, where it must give the same numbers (16-bit codes within 1), then
 * on random configs with such data, of which a failing one is shrunk.
 *
 * @param kernel a kernel or its name.
 * @throws QGraphError `kernels/unknown` where there is no kernel of that name, `kernels/command` for a command without
 * {in} and {out}.
 */
export async function checkLinear(kernel: Kernel | string, config: CheckLinearConfig): Promise<LinearCheck> {
	const { rounding, seed = 0, signal, onCase } = config;
	const chosen = typeof kernel === "string" ? kernelOf(kernel) : kernel;
	const isCommand = typeof config.run === "string";
	const run = typeof config.run === "string" ? kernelCommand(config.run, { signal }) : config.run;
	let largestDifference = 0;
	let published = 0;
	const result = (random: number, disagreement: Disagreement | null): LinearCheck => ({
		kernel: chosen.name,
		passed: disagreement === null,
		published,
		random,
		largestDifference,
		disagreement,
	});

	for (const { tolerance, performance, ...shape } of chosen.published) {
		if (performance && config.performance !== true) continue;
		const own: LinearConfig = { ...shape, rounding: rounding ?? shape.rounding };
		onCase?.(own);
		const rows = performance ? someRows(own) : allRows(own);
		for (const data of ["typical", "exact"] as const) {
			signal?.throwIfAborted();
			const tried: KernelCase = { config: own, data, seed };
			const comparison = await compareCase(chosen, run, tried, toleranceOf(chosen, tried, tolerance), rows);
			if (comparison.disagreement !== null) return result(0, comparison.disagreement);
			if (data === "typical") largestDifference = Math.max(largestDifference, comparison.largestDifference);
		}
		published++;
	}

	const count = config.random ?? (isCommand ? 20 : 100);
	if (count === 0) return result(0, null);
	onCase?.("random");
	const compare = (tried: KernelCase): Promise<Comparison> => {
		signal?.throwIfAborted();
		return compareCase(chosen, run, tried, toleranceOf(chosen, tried, undefined), allRows(tried.config));
	};
	const disagreement = await findDisagreement(chosen, compare, { count, seed, rounding: rounding ?? chosen.rounding });
	signal?.throwIfAborted();
	return result(disagreement === null ? count : 0, disagreement);
}

function kernelOf(name: string): Kernel {
	const kernel = KERNELS.find((candidate) => candidate.name === name);
	if (kernel !== undefined) return kernel;
	throw new QGraphError(
		"kernels/unknown",
		`there is no kernel '${name}'; there are ${KERNELS.map((each) => `'${each.name}'`).join(", ")}`,
	);
}

/** The first row, the last, and up to 14 between them, of odd and even numbers. */
function someRows({ rows }: LinearConfig): number[] {
	const picked = Array.from({ length: 16 }, (_, index) => Math.round((index * (rows - 1)) / 15));
	return [...new Set(picked)];
}
