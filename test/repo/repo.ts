import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const REPO = fileURLToPath(new URL("../../", import.meta.url));

/** A file of the checkout by its path from the top. */
export function repoFile(name: string): string {
	return path.join(REPO, name);
}

export interface SourceFile {
	/** Path below src, with slashes: `quant/lpbq.ts`. */
	readonly name: string;
	readonly text: string;
}

/** Every TypeScript file below src, by name. */
export function sourceFiles(): SourceFile[] {
	return readdirSync(repoFile("src"), { recursive: true, encoding: "utf8" })
		.filter((name) => name.endsWith(".ts"))
		.sort()
		.map((name) => ({
			name: name.replaceAll("\\", "/"),
			text: readFileSync(path.join(REPO, "src", name), "utf8"),
		}));
}
