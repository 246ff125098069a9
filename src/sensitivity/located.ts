import path from "node:path";
import type { IsolatedUnit } from "./measure-options.js";

/** A unit with its files in `folder`, which may have another path by now than when they were written. */
export function located(unit: IsolatedUnit, folder: string): IsolatedUnit {
	const candidates = unit.candidates.map((candidate) => {
		const constants = candidate.constants.map(({ file, outputs }) => {
			return { file: path.join(folder, path.basename(file)), outputs };
		});
		return { ...candidate, constants };
	});
	return { ...unit, candidates };
}
