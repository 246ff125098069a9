import type { NumpyArray } from "../arrays/npz.js";
import type { Model } from "../ir/model.js";
import { isMicrosoftOp, isOnnxOp } from "../ir/node.js";
import type { Use } from "../ir/value.js";
import { allNodes } from "../ir/walk.js";
import { serializeSkeleton } from "../onnx/file.js";
import { keepPart, partsWithin } from "../passes/support/graph-parts.js";
import { LiveSession } from "../runtime/live-session.js";

/** Bytes of weights with which a model stays loaded as a whole, beside the copy that makes a token take half as long. */
const WHOLE_BYTES = 2 ** 30;

/** Bytes of weights that are in memory at a time where a model has more, unless one operator alone reads more. */
const PART_BYTES = 2 ** 27;

export interface DecoderPartsOptions {
	/** See {@link WHOLE_BYTES}. */
	readonly wholeBytes?: number | undefined;
	/** See {@link PART_BYTES}. */
	readonly partBytes?: number | undefined;
}

/** A part of a model: it is loaded whenever it runs, or stays so. */
interface Part {
	readonly model: Model;
	/** Names of its inputs. */
	readonly inputs: readonly string[];
	/** Names of what it gives that later parts read, or that the model gives. */
	readonly outputs: readonly string[];
	readonly session: LiveSession | undefined;
}

/**
 * A model on the CPU that runs over and over, whatever its size: a small one stays loaded, of a large one a part at a time is,
 * and its weights come from the system's cache of files, where that has room for them.
 */
export class DecoderParts {
	readonly #parts: readonly Part[];
	/** Names of the model's outputs. */
	readonly #outputs: ReadonlySet<string>;

	private constructor(parts: readonly Part[], outputs: Iterable<string>) {
		this.#parts = parts;
		this.#outputs = new Set(outputs);
	}

	/**
	 * Rejects with `runtime/missing`, and with what the runtime says of the model.
	 *
	 * @param load gives the model anew at every call.
	 */
	static async open(
		load: () => Promise<Model>,
		{ wholeBytes = WHOLE_BYTES, partBytes = PART_BYTES }: DecoderPartsOptions = {},
	): Promise<DecoderParts> {
		const model = await load();
		const outputs = model.graph.outputs.map(({ name }) => name);
		if (weightBytes(model) <= wholeBytes) {
			return new DecoderParts(
				[{ model, inputs: inputNames(model), outputs, session: await openPart(model, true) }],
				outputs,
			);
		}
		const cut = partsWithin(model, partBytes);
		const parts: Part[] = [];
		for (const part of cut) {
			const own = await load();
			if (cut.length > 1) keepPart(own, part);
			parts.push({ model: own, inputs: inputNames(own), outputs: part.outputs, session: undefined });
		}
		return new DecoderParts(parts, outputs);
	}

	/** How many parts there are. */
	get count(): number {
		return this.#parts.length;
	}

	/** Runs the model once; its outputs by name. What goes in is taken out of `values` as soon as nothing reads it any more. */
	async run(values: Map<string, NumpyArray>): Promise<Map<string, NumpyArray>> {
		const found = new Map<string, NumpyArray>();
		for (const [at, part] of this.#parts.entries()) {
			const later = new Set(this.#parts.slice(at + 1).flatMap(({ inputs }) => inputs));
			const feeds = new Map(part.inputs.map((name) => [name, values.get(name)!] as const));
			for (const name of part.inputs) if (!later.has(name)) values.delete(name);
			// of codes a copy is what makes products fast, and no larger than they are
			const session = part.session ?? (await openPart(part.model, !hasFloatProducts(part.model)));
			try {
				for (const [name, array] of await session.run(feeds, part.outputs)) {
					if (later.has(name)) values.set(name, array);
					if (this.#outputs.has(name)) found.set(name, array);
				}
			} finally {
				if (part.session === undefined) await session.close();
			}
		}
		return found;
	}

	async close(): Promise<void> {
		for (const { session } of this.#parts) await session?.close();
	}
}

async function openPart(model: Model, prepacks: boolean): Promise<LiveSession> {
	const { bytes, dataFolder } = serializeSkeleton(model);
	return LiveSession.open(bytes, { dataFolder, prepacks });
}

function inputNames({ graph }: Model): string[] {
	return graph.inputs.filter(({ initializer }) => initializer === undefined).map(({ name }) => name);
}

/** Bytes of what operators read wholly: a table of which rows are picked is none of it. */
function weightBytes({ graph }: Model): number {
	const isPicked = ({ node, index }: Use) =>
		index === 0 && (isOnnxOp(node, "Gather") || isMicrosoftOp(node, "GatherBlockQuantized"));
	return [...graph.initializers]
		.filter(({ uses }) => !uses.every(isPicked))
		.reduce((sum, { initializer }) => sum + (initializer?.data.byteLength ?? 0), 0);
}

function hasFloatProducts(model: Model): boolean {
	return [...allNodes(model)].some(({ node }) => isOnnxOp(node, "MatMul", "Gemm"));
}
