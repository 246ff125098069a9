import { randomBytes } from "node:crypto";
import { constants, existsSync, statSync } from "node:fs";
import { copyFile, type FileHandle, open, rename, rm, rmdir } from "node:fs/promises";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { DataFile } from "../ir/data.js";
import { BufferedFile, type Piece } from "./buffered-file.js";
import { endsSoon, syncWhileWriting } from "./early-sync.js";
import { makeFolder } from "./make-folder.js";
import { PageWriter } from "./page-writer.js";

export interface OutputOptions {
	readonly signal?: AbortSignal | undefined;
	/** Called with the bytes written since the last call. */
	readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * A set of files that appears as a whole or not at all. Each is written beside its place under a temporary name and
 * synced; `commit` renames them, the main file last. Where a data file of an older output is replaced, the older main
 * file is set aside first, so that a crash in between leaves no main file rather than one with another's data.
 */
export class OutputSet {
	readonly #options: OutputOptions;
	readonly #temporaries: Map<string, string> = new Map();
	/** Folders that were not there before, inner ones first. */
	readonly #newFolders: string[] = [];

	constructor(options: OutputOptions) {
		this.#options = options;
	}

	/** Writes `target` from pieces; gaps between them become zeros. */
	async write(target: string, pieces: Iterable<Piece>): Promise<void> {
		const handle = await this.#create(target);
		const writer = new PageWriter(handle, this.#temporaries.get(target)!);
		try {
			const writing = new BufferedFile(writer, this.#options).writeAll(pieces);
			await syncWhileWriting(handle, writing, () => !writer.isDirect);
		} finally {
			await writer.close();
			await handle.close();
		}
	}

	/** Makes `target` a copy of the file `from`, by the kernel. */
	async copy(target: string, from: DataFile): Promise<void> {
		this.#options.signal?.throwIfAborted();
		const temporary = await this.#temporary(target);
		const copying = copyFile(from.path, temporary, constants.COPYFILE_FICLONE);
		await endsSoon(copying);
		// The copy opens its target by name, in its own time.
		const handle = await open(temporary, "r").catch(() => copying.then(() => open(temporary, "r")));
		try {
			await syncWhileWriting(handle, copying);
		} finally {
			await handle.close();
		}
		if (new DataFile(from.path).identity !== from.identity) {
			const message = `file '${from.path}' was changed since the model was read; read the model again`;
			throw new QGraphError("data/file-changed", message, { file: from.path });
		}
		this.#options.onBytes?.(from.size);
	}

	/** Puts everything in place; `main` is the file that makes the others mean something. */
	async commit(main: string): Promise<void> {
		this.#options.signal?.throwIfAborted();
		const others = [...this.#temporaries.keys()].filter((target) => target !== main);
		const aside = new Map<string, string>();
		const placed: string[] = [];
		try {
			if (others.some((target) => existsSync(target))) await setAside(main, aside);
			for (const target of others) {
				await setAside(target, aside);
				await this.#place(target);
				placed.push(target);
			}
			for (const folder of new Set(others.map((target) => path.dirname(target)))) await syncFolder(folder);
			await this.#place(main);
		} catch (error) {
			for (const target of placed) await rm(target, { force: true });
			for (const [target, old] of aside) await rename(old, target);
			throw error;
		}
		for (const old of aside.values()) await removeQuietly(old);
		await syncFolder(path.dirname(main));
	}

	/** Removes what was written but not committed. */
	async discard(): Promise<void> {
		for (const temporary of this.#temporaries.values()) await removeQuietly(temporary);
		for (const folder of this.#newFolders) await rmdir(folder).catch(() => undefined);
	}

	/** Opens the temporary file of `target`, which has the permissions of the file that it will replace. */
	async #create(target: string): Promise<FileHandle> {
		const handle = await open(await this.#temporary(target), "wx");
		const mode = statSync(target, { throwIfNoEntry: false })?.mode;
		if (mode !== undefined) await handle.chmod(mode & 0o777);
		return handle;
	}

	async #temporary(target: string): Promise<string> {
		const folder = path.dirname(target);
		const first = await makeFolder(folder);
		if (first !== undefined) {
			for (let made = folder; made.length >= first.length; made = path.dirname(made)) this.#newFolders.push(made);
		}
		const temporary = nameBeside(target, "tmp");
		this.#temporaries.set(target, temporary);
		return temporary;
	}

	async #place(target: string): Promise<void> {
		await rename(this.#temporaries.get(target)!, target);
		this.#temporaries.delete(target);
	}
}

/** Gives the file `target`, where there is one, another name until the new one is in place. */
async function setAside(target: string, aside: Map<string, string>): Promise<void> {
	if (!existsSync(target)) return;
	const name = nameBeside(target, "old");
	await rename(target, name);
	aside.set(target, name);
}

/** Removes what nobody needs; where that fails, what the write came to still stands. */
async function removeQuietly(file: string): Promise<void> {
	await rm(file, { force: true }).catch(() => undefined);
}

/** A name in the folder of `target` that no other file has; short, for names have a limit. */
function nameBeside(target: string, ending: string): string {
	const base = path.basename(target).slice(0, 40);
	return path.join(path.dirname(target), `.${base}.${randomBytes(6).toString("hex")}.${ending}`);
}

/** Makes renames in a folder durable, where the platform can. */
async function syncFolder(folder: string): Promise<void> {
	const handle = await open(folder, "r").catch(() => undefined);
	await handle?.sync().catch(() => undefined);
	await handle?.close();
}
