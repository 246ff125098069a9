import type { FileHandle } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

/** Milliseconds between two syncs; files that are written faster are synced once. */
const INTERVAL = 10;

/**
 * Waits for `writing`, which fills the file, and syncs it. Syncing starts while the file is being written, so that the
 * disk is not idle until then, where `helps` says so. Rejects with what goes wrong in either, once nothing uses the file
 * any more.
 */
export async function syncWhileWriting(
	handle: FileHandle,
	writing: Promise<void>,
	helps: () => boolean = () => true,
): Promise<void> {
	try {
		while (!(await endsSoon(writing))) {
			if (helps()) await handle.datasync();
		}
	} finally {
		await writing;
	}
	await handle.sync();
}

/** Resolves as soon as `writing` has ended, to true, or after a moment, to false. */
export async function endsSoon(writing: Promise<void>): Promise<boolean> {
	const ended = writing.then(
		() => true,
		() => true,
	);
	return Promise.race([ended, delay(INTERVAL, false, { ref: false })]);
}
