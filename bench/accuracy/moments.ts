import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { foldWeightTranspose, isOnnxOp, type Model, readModel, runPasses, upgradeOpset } from "qgraph";
import type { Feeds } from "./inputs.js";
import { CpuModel } from "./session.js";

/** The file of mean squares beside the moments. */
export const IMPORTANCE_FILE = "importance.json";

/**
 * Runs a model on calibration inputs and writes what GPTQ needs: for every weight [K, N] of a MatMul the second moments of
 * its inputs, [K, K], as .npy named after the weight; and their diagonals as {@link IMPORTANCE_FILE}.
 *
 * @returns the number of weights.
 */
export async function writeMoments(
	file: string,
	samples: (model: CpuModel) => readonly Feeds[],
	folder: string,
): Promise<number> {
	mkdirSync(folder, { recursive: true });
	const model = await readModel(file);
	await runPasses(model, [upgradeOpset(), foldWeightTranspose()]);
	const weights = exposeInputs(model);
	const session = await CpuModel.of(model, path.join(folder, "probes.onnx"));
	const sums = new Map<string, Float64Array>();
	for (const feeds of samples(session)) {
		const outputs = await session.run(feeds);
		for (const [input, { depth }] of weights) {
			const sum = sums.get(input) ?? new Float64Array(depth * depth);
			sums.set(input, sum);
			addMoments(sum, outputs.get(input)!, depth);
		}
	}
	await session.close();
	let count = 0;
	const importance: Record<string, number[]> = {};
	for (const [input, { depth, names }] of weights) {
		const sum = sums.get(input)!;
		for (let i = 0; i < depth; i++) for (let j = 0; j < i; j++) sum[i * depth + j] = sum[j * depth + i]!;
		for (const name of names) {
			writeNpy(path.join(folder, `${encodeURIComponent(name)}.npy`), depth, sum);
			importance[name] = Array.from({ length: depth }, (_, i) => sum[i * depth + i]!);
			count++;
		}
	}
	writeFileSync(path.join(folder, IMPORTANCE_FILE), JSON.stringify(importance));
	return count;
}

interface WeightsOfInput {
	readonly depth: number;
	readonly names: string[];
}

/** Makes outputs of the inputs of all MatMuls with constant weights; these, by the name of the input. */
function exposeInputs(model: Model): Map<string, WeightsOfInput> {
	const found = new Map<string, WeightsOfInput>();
	const { graph } = model;
	for (const node of graph.nodes) {
		const [input, weight] = node.inputs;
		const tensor = weight?.initializer;
		if (!isOnnxOp(node, "MatMul") || tensor?.shape.length !== 2) continue;
		const entry = found.get(input!.name) ?? { depth: tensor.shape[0]!, names: [] };
		entry.names.push(weight!.name);
		if (!found.has(input!.name) && !input!.isGraphOutput) graph.addOutput(input!);
		found.set(input!.name, entry);
	}
	return found;
}

/** Adds the upper triangle of rows^T rows. */
function addMoments(sum: Float64Array, values: Float32Array, depth: number): void {
	for (let start = 0; start < values.length; start += depth) {
		for (let i = 0; i < depth; i++) {
			const factor = values[start + i]!;
			for (let j = i, at = i * depth + i; j < depth; j++, at++) sum[at]! += factor * values[start + j]!;
		}
	}
}

function writeNpy(file: string, size: number, values: Float64Array): void {
	const header = `{'descr': '<f8', 'fortran_order': False, 'shape': (${size}, ${size}), }`.padEnd(117);
	writeFileSync(
		file,
		Buffer.concat([Buffer.from(`\x93NUMPY\x01\x00\x76\x00${header}\n`, "latin1"), Buffer.from(values.buffer)]),
	);
}
