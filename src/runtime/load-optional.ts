import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

/**
 * A package that need not be installed, as qgraph finds it, or as the folder that the user works in has it; undefined where
 * neither has.
 */
export async function loadOptional(name: string, workingFolder: string): Promise<unknown> {
	try {
		return await import(name);
	} catch (error) {
		if (!isNotFound(error)) throw error;
	}
	try {
		const found = createRequire(path.join(workingFolder, "x")).resolve(name);
		return await import(pathToFileURL(found).href);
	} catch (error) {
		if (!isNotFound(error)) throw error;
		return undefined;
	}
}

function isNotFound(error: unknown): boolean {
	const code = error instanceof Error && "code" in error ? error.code : undefined;
	return code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
}
