import { existsSync, realpathSync, type Stats, statSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import type { DataFile, TensorData } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import { isWithin } from "./external-data.js";
import { MAX_MODEL_BYTES } from "./limits.js";
import { encodeModel } from "./model-codec.js";
import { type DataRun, type ExternalDataPolicy, type ModelSource, PlacementPlan } from "./placement.js";
import { hasSameBytes } from "./same-bytes.js";
import { shown } from "./text.js";
import { type EncodedMessage, writeMessage } from "./wire-writer.js";

/** The files that a write makes. */
export interface WriteJob {
	/** The model file. */
	readonly target: string;
	readonly pieces: readonly TensorData[];
	/** The new data file. */
	readonly data: { readonly target: string; readonly runs: readonly DataRun[] } | undefined;
	/** Data files that go along unchanged. */
	readonly copies: readonly { readonly target: string; readonly from: DataFile }[];
	readonly totalBytes: number;
}

export interface WriteRequest {
	readonly model: Model;
	readonly source: ModelSource | undefined;
	readonly modelPath: string;
	readonly policy: ExternalDataPolicy;
	readonly overwrite: boolean;
}

/** Decides what goes where, and refuses what would harm; writes nothing. */
export function planWrite(request: WriteRequest): WriteJob {
	const { source, modelPath } = request;
	const target = realTarget(modelPath);
	const folder = realpathSync(path.dirname(path.resolve(modelPath)));
	const { plan, encoded } = encode(request, target, folder);
	const copies: { target: string; from: DataFile }[] = [];
	for (const [location, from] of plan.keptFiles) {
		const copy = { target: path.join(folder, location), from };
		if (copies.some((other) => other.target === copy.target)) continue;
		checkInside(copy.target, folder);
		if (!hasSameBytes(copy.target, from)) copies.push(copy);
	}
	const data = plan.runs.length === 0 ? undefined : { target: path.join(folder, plan.newLocation), runs: plan.runs };
	const replacesSource = source?.path === target;
	const isThere = existsSync(target);
	checkTarget(target, source, replacesSource, request.overwrite);
	if (data !== undefined) checkTarget(data.target, source, replacesSource, request.overwrite);
	// Without a model of the output's name, a data file that is there is another model's.
	for (const copy of copies) checkTarget(copy.target, source, replacesSource, request.overwrite && isThere);
	const copiedBytes = copies.reduce((sum, copy) => sum + copy.from.size, 0);
	const totalBytes = encoded.byteLength + plan.newBytes + copiedBytes;
	return { target, pieces: encoded.pieces, data, copies, totalBytes };
}

/** Distributes the weights; those inside the model file move out only where it would get too large otherwise. */
function encode(
	{ model, source, modelPath, policy }: WriteRequest,
	target: string,
	folder: string,
): { plan: PlacementPlan; encoded: EncodedMessage } {
	const outputName = path.basename(modelPath);
	const isBesideInput = source?.folder === folder && source.path !== target;
	const isOutputTaken = [...(source?.files ?? [])].some(
		([location, file]) => path.join(folder, location) === path.join(folder, outputName) || file.path === target,
	);
	if (isOutputTaken && policy === "keep") {
		const message = `cannot keep the data files: one of them has the output's name, '${shown(outputName)}'; choose another name`;
		throw new QGraphError("write/would-overwrite-input", message, { file: target });
	}
	for (const isTooLarge of [false, true]) {
		const mayKeepNames = !isBesideInput && !isOutputTaken;
		const plan = new PlacementPlan(model, source, { policy, outputName, mayKeepNames, isTooLarge });
		const place = plan.place.bind(plan);
		const encoded = writeMessage(encodeModel(model, place), "ModelProto");
		if (encoded.byteLength <= MAX_MODEL_BYTES) return { plan, encoded };
		if (isTooLarge || policy === "inline" || policy === "one-file") throw tooLarge(encoded.byteLength);
	}
	throw new Error("unreachable: the second plan returns or throws");
}

export function tooLarge(bytes: number): QGraphError {
	return new QGraphError(
		"write/too-large",
		`the model file would have ${bytes} bytes, more than the ${MAX_MODEL_BYTES} that protobuf allows; write the weights to external data`,
	);
}

/** The file that a write to `modelPath` replaces: links are followed. */
function realTarget(modelPath: string): string {
	const absolute = path.resolve(modelPath);
	try {
		return realpathSync(absolute);
	} catch {
		return path.join(realpathSync(path.dirname(absolute)), path.basename(absolute));
	}
}

/** Refuses a target that exists without leave, or that the input needs although it is not what is being replaced. */
function checkTarget(
	target: string,
	source: ModelSource | undefined,
	replacesSource: boolean,
	overwrite: boolean,
): void {
	const stat = statSync(target, { throwIfNoEntry: false });
	if (stat === undefined) return;
	if (!stat.isFile()) {
		throw new QGraphError("write/failed", `cannot write '${target}': it exists and is not a file`, { file: target });
	}
	const needed = source === undefined ? [] : [source.path, ...Array.from(source.files.values(), (file) => file.path)];
	if (!replacesSource && needed.some((file) => isSameFile(file, stat))) {
		throw new QGraphError(
			"write/would-overwrite-input",
			`writing '${target}' would replace a file that the input model '${source?.path}' needs; choose another output name`,
			{ file: target },
		);
	}
	if (!overwrite) throw new QGraphError("write/exists", `'${target}' exists`, { file: target });
}

function isSameFile(file: string, stat: Stats): boolean {
	const other = statSync(file, { throwIfNoEntry: false });
	return other?.dev === stat.dev && other.ino === stat.ino;
}

/** Refuses a data file whose folder is a link that leads out of the output's folder. */
function checkInside(target: string, folder: string): void {
	let parent = path.dirname(target);
	while (!existsSync(parent)) parent = path.dirname(parent);
	const real = realpathSync(parent);
	if (real === folder || isWithin(folder, real)) return;
	throw new QGraphError("external-data/outside", `'${target}' is behind a link that leads out of '${folder}'`, {
		file: target,
	});
}
