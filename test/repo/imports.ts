import path from "node:path/posix";
import type { SourceFile } from "./repo.js";

/** One import or re-export. */
export interface Import {
	/** The importing file, below src. */
	readonly from: string;
	/** The imported file below src, or the name of a package. */
	readonly to: string;
	readonly isPackage: boolean;
	/** Is it gone when compiled? */
	readonly typeOnly: boolean;
}

const STATEMENT = /^\s*(?:import|export)\s+(type\s)?(?:[\w*{}\s,$]+?\sfrom\s+)?"([^"]+)"/gm;
const DYNAMIC = /\bimport\(\s*"([^"]+)"\s*\)/g;

/** The import lines of a file. */
export function importsOf({ name, text }: SourceFile): Import[] {
	const found = [...text.matchAll(STATEMENT)].map(([, type, target]) => toImport(name, target!, type !== undefined));
	return [...found, ...[...text.matchAll(DYNAMIC)].map(([, target]) => toImport(name, target!, false))];
}

function toImport(from: string, target: string, typeOnly: boolean): Import {
	const isPackage = !target.startsWith(".");
	const to = isPackage ? target : path.join(path.dirname(from), target).replace(/\.js$/, ".ts");
	return { from, to, isPackage, typeOnly };
}

/** A circle of imports, each file importing the next, or undefined where there is none. */
export function findCycle(imports: readonly Import[]): string[] | undefined {
	const next = new Map<string, string[]>();
	for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to]);
	const done = new Set<string>();
	const visit = (file: string, trail: readonly string[]): string[] | undefined => {
		const at = trail.indexOf(file);
		if (at >= 0) return [...trail.slice(at), file];
		if (done.has(file)) return undefined;
		for (const to of next.get(file) ?? []) {
			const cycle = visit(to, [...trail, file]);
			if (cycle !== undefined) return cycle;
		}
		done.add(file);
		return undefined;
	};
	for (const file of next.keys()) {
		const cycle = visit(file, []);
		if (cycle !== undefined) return cycle;
	}
	return undefined;
}
