import { readdirSync } from "node:fs";
import path from "node:path";
import { openNpy, openNpz } from "../../arrays/array-file.js";
import { CODES, QGraphError } from "../../diagnostics.js";
import type { ModelInput } from "../../runtime/model-inputs.js";
import type { SampleSource } from "../calibration.js";
import { arraySource } from "./array-source.js";
import { type ImageOptions, imageSource, isImage } from "./image-source.js";
import { joinedSource } from "./joined-source.js";

/**
 * The samples of a folder, by what is in it:
 *
 * - .npz files, one after the other by name;
 * - .npy files called as the inputs are, each with all samples of its input; or for a model of one input any .npy files;
 * - folders called as the inputs are, of .npy files, of which those of the same place belong together;
 * - images.
 */
export function folderSource(folder: string, inputs: readonly ModelInput[], images: ImageOptions): SampleSource {
	const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
	const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => path.join(folder, name));
	const ofKind = (extension: string) => files.filter((file) => file.endsWith(extension));
	const [npz, npy, pictures] = [ofKind(".npz"), ofKind(".npy"), files.filter(isImage)];
	if (npz.length > 0) {
		return ignoring(folder, files, npz, joinedSource(npz.map((file) => arraySource(file, openNpz(file), inputs))));
	}
	if (npy.length > 0) return npySource(folder, files, npy, inputs);
	if (pictures.length > 0) return ignoring(folder, files, pictures, imageSource(pictures, inputs, images));
	const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
	if (inputs.every(({ name }) => folders.includes(name))) return parallelSource(folder, inputs);
	throw new QGraphError(
		"calibrate/data",
		`folder '${folder}' has neither .npz, .npy nor image files, nor folders called as the inputs are`,
		{ file: folder },
	);
}

function npySource(
	folder: string,
	files: readonly string[],
	arrays: readonly string[],
	inputs: readonly ModelInput[],
): SampleSource {
	const byName = new Map(arrays.map((file) => [path.basename(file, ".npy"), file] as const));
	const [only, ...others] = inputs;
	if (only !== undefined && others.length === 0 && !byName.has(only.name)) {
		const sources = arrays.map((file) => arraySource(file, new Map([[only.name, openNpy(file)]]), inputs));
		return ignoring(folder, files, arrays, joinedSource(sources));
	}
	const read = [...byName].filter(([name]) => inputs.some((input) => input.name === name));
	const source = arraySource(
		folder,
		new Map([...byName].map(([name, file]) => [name, openNpy(file)] as const)),
		inputs,
	);
	return ignoring(
		folder,
		files,
		read.map(([, file]) => file),
		source,
	);
}

/** Says of a source which files of its folder it does not read; those that begin with a dot are nobody's samples. */
function ignoring(
	folder: string,
	files: readonly string[],
	read: readonly string[],
	source: SampleSource,
): SampleSource {
	const others = files.filter((file) => !read.includes(file) && !path.basename(file).startsWith("."));
	if (others.length === 0) return source;
	const names = others.slice(0, 3).map((file) => `'${path.basename(file)}'`);
	const more = others.length > 3 ? ` and ${others.length - 3} more` : "";
	const one = read.length === 1 ? "file" : "files";
	const message = `'${folder}' has ${names.join(", ")}${more}, not read beside ${read.length} ${path.extname(read[0] ?? "")} ${one} of samples`;
	const code = "calibrate/ignored" as const;
	const remark = { code, severity: CODES[code].severity, message, at: { file: folder }, notes: [] };
	return { ...source, remarks: [...(source.remarks ?? []), remark] };
}

function parallelSource(folder: string, inputs: readonly ModelInput[]): SampleSource {
	const lists = inputs.map(({ name }) => {
		const inside = readdirSync(path.join(folder, name)).filter((file) => file.endsWith(".npy"));
		return { name, files: inside.sort().map((file) => path.join(folder, name, file)) };
	});
	const [first] = lists;
	const other = lists.find(({ files }) => files.length !== first!.files.length);
	if (other !== undefined) {
		const message = `'${folder}' has ${first!.files.length} files for '${first!.name}' but ${other.files.length} for '${other.name}'`;
		throw new QGraphError("calibrate/data", message, { file: folder });
	}
	return joinedSource(
		first!.files.map((file, index) =>
			arraySource(file, new Map(lists.map(({ name, files }) => [name, openNpy(files[index]!)] as const)), inputs),
		),
	);
}
