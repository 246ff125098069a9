import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { makeFolder } from "../onnx/make-folder.js";
import { ownVersion } from "../runtime/own-version.js";

/** What a stage made: a folder with files, and what it says of them. */
export interface StageOutput<T> {
	readonly folder: string;
	readonly result: T;
	readonly seconds: number;
	/** Was it there from an earlier run? */
	readonly isReused: boolean;
}

interface StoredStage {
	readonly key: string;
	readonly seconds: number;
	readonly files: Readonly<Record<string, number>>;
	readonly result: unknown;
}

const STATE_FILE = "stages.json";

/**
 * Where the stages of a long conversion put what they made, each into a folder of its own. A stage is skipped where its
 * output is there, whole, and was made by this version, the same files of it, from the same source with the same settings, its own and those of
 * the stages in front of it.
 */
export class WorkFolder {
	readonly folder: string;
	#key: string;
	readonly #stored: Record<string, StoredStage>;
	readonly #done: Record<string, StoredStage> = {};

	private constructor(folder: string, source: string) {
		this.folder = folder;
		this.#key = keyOf(ownVersion(), fingerprintOf(path.dirname(fileURLToPath(import.meta.url))), source);
		this.#stored = readState(path.join(folder, STATE_FILE));
	}

	/** `source` stands for everything that stages read besides their settings. */
	static async open(folder: string, source: string): Promise<WorkFolder> {
		await makeFolder(folder);
		return new WorkFolder(folder, source);
	}

	/** Runs a stage, or finds it done. `settings` is all that its output depends on besides the source and earlier stages; its result is JSON. */
	async stage<T>(name: string, settings: unknown, make: (folder: string) => Promise<T>): Promise<StageOutput<T>> {
		const folder = path.join(this.folder, name);
		this.#key = keyOf(this.#key, name, JSON.stringify(settings));
		const known = this.#stored[name];
		if (known?.key === this.#key && isWhole(folder, known)) {
			this.#done[name] = known;
			return { folder, result: known.result as T, seconds: known.seconds, isReused: true };
		}
		const start = performance.now();
		rmSync(folder, { recursive: true, force: true });
		await mkdir(folder);
		const result = await make(folder);
		const seconds = (performance.now() - start) / 1000;
		this.#done[name] = { key: this.#key, seconds, files: sizesIn(folder), result };
		const state = path.join(this.folder, STATE_FILE);
		writeFileSync(`${state}.part`, JSON.stringify(this.#done));
		renameSync(`${state}.part`, state);
		return { folder, result, seconds, isReused: false };
	}

	/** Is there a stage that another run need not repeat? */
	get isWorthKeeping(): boolean {
		return Object.keys({ ...this.#stored, ...this.#done }).length > 0;
	}

	remove(): void {
		rmSync(this.folder, { recursive: true, force: true });
	}
}

/** Names, sizes and times of the files of a folder: another one is another source. */
export function fingerprintOf(folder: string): string {
	const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
	const lines = files.map(({ name }) => {
		const { size, mtimeMs } = statSync(path.join(folder, name));
		return `${name} ${size} ${mtimeMs}`;
	});
	return [path.resolve(folder), ...lines.sort()].join("\n");
}

function keyOf(...parts: readonly string[]): string {
	return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** A state that is not there or cannot be read is none: everything is made anew. */
function readState(file: string): Record<string, StoredStage> {
	try {
		return JSON.parse(readFileSync(file, "utf8")) as Record<string, StoredStage>;
	} catch {
		return {};
	}
}

function isWhole(folder: string, { files }: StoredStage): boolean {
	return existsSync(folder) && JSON.stringify(sizesIn(folder)) === JSON.stringify(files);
}

function sizesIn(folder: string): Record<string, number> {
	const names = readdirSync(folder).sort();
	return Object.fromEntries(names.map((name) => [name, statSync(path.join(folder, name)).size]));
}
