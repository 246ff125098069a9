import { createRequire } from "node:module";
import type * as Yaml from "yaml";

/** The package is loaded when a recipe is read or written: most command lines do without. */
export function yaml(): typeof Yaml {
	return createRequire(import.meta.url)("yaml") as typeof Yaml;
}
