import type { DataKind, Derivation, Kernel, Tolerance } from "./kernel.js";
import {
	ARRAY_CLASSES,
	type LinearConfig,
	type TensorArray,
	type TensorArrays,
	tensorShape,
	tensorType,
} from "./tensor-spec.js";

/** What an implementation is given. */
export interface KernelCall {
	readonly kernel: Kernel;
	readonly config: LinearConfig;
	/** By the names of the kernel's inputs. */
	readonly inputs: TensorArrays;
}

/**
 * What an implementation gives back: the output, or all outputs by name, of the types that the kernel has. `sums`, float32
 * [M, N], may be among them: the output before it is quantized, for the report.
 */
export type KernelOutputs = TensorArray | (TensorArrays & { readonly sums?: TensorArray });

/** An implementation of a kernel. */
export type KernelFunction = (call: KernelCall) => KernelOutputs | Promise<KernelOutputs>;

/** One config with data, which `kernel.makeInputs(config, data, seed)` makes again. */
export interface KernelCase {
	readonly config: LinearConfig;
	readonly data: DataKind;
	readonly seed: number;
}

/** Where an implementation and the reference differ first. */
export interface Disagreement extends KernelCase {
	/** One sentence: what differs, or why there was nothing to compare. */
	readonly message: string;
	/** null: the implementation failed or gave something else than the kernel's outputs. */
	readonly value: DifferentValue | null;
}

export interface DifferentValue {
	/** Name of the output. */
	readonly output: string;
	/** [m, n], or [m] where there is one a row. */
	readonly index: readonly number[];
	readonly expected: number;
	readonly actual: number;
	/** Largest difference that is allowed there. */
	readonly allowed: number;
	/** How the reference comes to its value: its sum in both forms, and the integers of every group. */
	readonly reference: Derivation | null;
	/** The implementation's own sum, where it gave `sums`. */
	readonly implementationSum: number | null;
}

/** Of a case that was compared: the first disagreement, and the largest difference of all. */
export interface Comparison {
	readonly disagreement: Disagreement | null;
	readonly largestDifference: number;
}

/** What differs and may. Data without rounding allows less, but not where the activation itself is rounded to float16. */
export function toleranceOf(kernel: Kernel, { config, data }: KernelCase, published: Tolerance | undefined): Tolerance {
	return published !== undefined && (data === "typical" || config.activation === "float16")
		? published
		: kernel.exactTolerance(config);
}

/** Runs an implementation on one case and compares what it gives on `rows`. */
export async function compareCase(
	kernel: Kernel,
	run: KernelFunction,
	tried: KernelCase,
	tolerance: Tolerance,
	rows: readonly number[],
): Promise<Comparison> {
	const { config, data, seed } = tried;
	const failed = (message: string, value: DifferentValue | null = null): Disagreement => ({ ...tried, message, value });
	const inputs = kernel.makeInputs(config, data, seed);
	let outputs: TensorArrays;
	try {
		const given = await run({ kernel, config, inputs });
		outputs = ArrayBuffer.isView(given) ? { [Object.keys(kernel.outputs)[0]!]: given as TensorArray } : given;
	} catch (error) {
		return { disagreement: failed(`the implementation failed: ${messageOf(error)}`), largestDifference: Number.NaN };
	}
	const unfit = Object.keys(kernel.outputs)
		.map((name) => unfitness(kernel, config, name, outputs[name]))
		.find((problem) => problem !== undefined);
	if (unfit !== undefined) return { disagreement: failed(unfit), largestDifference: Number.NaN };

	const expected = kernel.reference(config, inputs, rows);
	let first: DifferentValue | null = null;
	let largestDifference = 0;
	for (const name of Object.keys(kernel.outputs)) {
		const width = expected[name]!.length / rows.length;
		for (let i = 0; i < expected[name]!.length; i++) {
			const [row, column] = [rows[Math.floor(i / width)]!, i % width];
			const actual = outputs[name]![row * width + column]!;
			const difference = Math.abs(actual - expected[name]![i]!);
			const allowed = allowedDifference(tolerance, expected[name]![i]!);
			if (!(difference <= largestDifference)) largestDifference = difference;
			if (first !== null || difference <= allowed) continue;
			first = {
				output: name,
				index: width === 1 && kernel.outputs[name]!.dims.length === 1 ? [row] : [row, column],
				expected: expected[name]![i]!,
				actual,
				allowed,
				reference: kernel.derive?.(config, inputs, row, column) ?? null,
				implementationSum: outputs.sums?.[row * width + column] ?? null,
			};
		}
	}
	if (first === null) return { disagreement: null, largestDifference };
	const place = `${first.output}[${first.index.join(", ")}]`;
	return {
		disagreement: failed(`${place} is ${first.actual}, expected ${first.expected} within ${first.allowed}`, first),
		largestDifference,
	};
}

function allowedDifference({ absolute, relative, combine }: Tolerance, expected: number): number {
	const share = relative * Math.abs(expected);
	return combine === "sum" ? absolute + share : Math.max(absolute, share);
}

/** What is wrong with an output before any number is looked at. */
function unfitness(
	kernel: Kernel,
	config: LinearConfig,
	name: string,
	array: TensorArray | undefined,
): string | undefined {
	const spec = kernel.outputs[name]!;
	const type = tensorType(spec, config);
	const shape = tensorShape(spec, config);
	const length = shape.reduce((a, b) => a * b, 1);
	if (array === undefined) return `the implementation gave no '${name}'`;
	if (!(array instanceof ARRAY_CLASSES[type])) {
		return `'${name}' is ${array.constructor.name}, expected ${ARRAY_CLASSES[type].name}`;
	}
	return array.length === length
		? undefined
		: `'${name}' has ${array.length} elements, expected ${length}, [${shape.join(", ")}]`;
}

function messageOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}
