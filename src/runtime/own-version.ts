import { createRequire } from "node:module";

/** The version of this package. Source and bundle are both two folders below its description. */
export function ownVersion(): string {
	return (createRequire(import.meta.url)("../../package.json") as { version: string }).version;
}
