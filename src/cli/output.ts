import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../index.js";

/** Says at once what writing would only find out after all the work. */
export function checkOutput(output: string, force: boolean): void {
	checkFolder(output);
	if (!existsSync(output)) return;
	if (!statSync(output).isFile()) {
		throw new QGraphError("write/failed", `cannot write '${output}': it exists and is not a file`, { file: output });
	}
	if (!force) {
		throw new QGraphError("write/exists", `'${output}' exists; use --force to replace it`, { file: output });
	}
}

export function checkFolder(file: string): void {
	const folder = statSync(path.dirname(path.resolve(file)), { throwIfNoEntry: false });
	if (folder?.isDirectory() === true) return;
	throw new QGraphError("write/failed", `cannot write '${file}': there is no such folder`, { file });
}
