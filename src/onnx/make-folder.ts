import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";

/**
 * Makes `folder` and those around it that are missing; resolves to the outermost one made, or undefined. Node's own
 * recursive mkdir never ends where a folder cannot have others in it that does exist, as in /proc.
 */
export async function makeFolder(folder: string): Promise<string | undefined> {
	if (existsSync(folder)) return undefined;
	const outer = await makeFolder(path.dirname(folder));
	try {
		await mkdir(folder);
	} catch (error) {
		if (existsSync(folder)) return outer; // somebody else was faster
		throw error;
	}
	return outer ?? folder;
}
