import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { bytesFrom } from "../../src/arrays/element-type.js";
import type { SampleSource } from "../../src/calibration/calibration.js";
import { planRounds } from "../../src/calibration/rounds/plan-rounds.js";
import { roundInputs } from "../../src/calibration/rounds/round-inputs.js";
import { RoundObserver } from "../../src/calibration/rounds/round-observer.js";
import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { bytesData } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import type { GptqInputs } from "../../src/passes/support/gptq-inputs.js";
import { MomentsFolder } from "../../src/passes/support/input-statistics.js";
import { Random } from "../../src/quant/random.js";
import { temporaryFolder } from "../repo/run.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { floatFeed, floatsOf, run } from "../support/ort.js";

const weight = (shape: readonly number[], scale = 1) => {
	const random = new Random(shape.join());
	return floatTensor(
		shape,
		Array.from({ length: elementCount(shape) }, () => scale * random.normal()),
	);
};

const SHAPE = [1, 5, 8];
const SAMPLES = 3;

function samplesOf(shape: readonly number[]): { source: SampleSource; values: Float32Array[] } {
	const random = new Random("samples");
	const values = Array.from({ length: SAMPLES }, () =>
		Float32Array.from({ length: elementCount(shape) }, () => random.normal()),
	);
	const source: SampleSource = {
		name: "test",
		count: SAMPLES,
		isRandom: false,
		async *samples(first) {
			for (const elements of values.slice(first)) {
				const bytes = bytesFrom("float32", elements);
				yield { origin: "a sample", arrays: new Map([["x", { type: "float32", shape, bytes }]]) };
			}
		},
	};
	return { source, values };
}

/** MatMuls with the weights a, b and c, one behind the other; c's output is added to a bias and to what a computed. */
function chain(b: ModelBuilder): void {
	b.input("x", DataType.FLOAT, SHAPE);
	for (const name of ["a", "b", "c"]) b.initializer(name, weight([8, 8], 0.5));
	b.initializer("bias", weight([8]));
	b.node("MatMul", ["x", "a"], ["first"]);
	b.node("Tanh", ["first"], ["bent"]);
	b.node("MatMul", ["bent", "b"], ["second"]);
	b.node("MatMul", ["second", "c"], ["third"]);
	b.node("Add", ["bias", "third"], ["biased"]);
	b.node("Add", ["biased", "first"], ["sum"]);
	b.node("Tanh", ["sum"], ["y"]);
	b.output("y");
}

describe("planRounds", () => {
	test("weights come behind those that their inputs depend on", () => {
		const names = new Set(["c", "a", "b"]);
		expect(planRounds(modelOf(chain), names, 9)).toEqual([["a"], ["b"], ["c"]]);
		expect(planRounds(modelOf(chain), new Set(["c", "b"]), 9)).toEqual([["b"], ["c"]]);
	});

	test("with few rounds, neighbours are together", () => {
		expect(planRounds(modelOf(chain), new Set(["a", "b", "c"]), 2)).toEqual([["a", "b"], ["c"]]);
		expect(planRounds(modelOf(chain), new Set(), 2)).toEqual([[]]);
	});

	test("the last place of a shared weight counts, and what subgraphs read counts, too", () => {
		const model = modelOf((b) => {
			chain(b);
			b.input("flag", DataType.BOOL, []);
			b.initializer("d", weight([8, 8]));
			b.node("MatMul", ["y", "a"], ["again"]);
			const branch = (name: string) =>
				b.subgraph(name, (inner) => {
					inner.node("Identity", ["again"], [name]);
					inner.output(name);
				});
			b.node("If", ["flag"], ["chosen"], { then_branch: branch("then"), else_branch: branch("else") });
			b.node("MatMul", ["chosen", "d"], ["last"]);
			b.output("last");
		});
		expect(planRounds(model, new Set(["a", "b", "d"]), 9)).toEqual([["b"], ["a"], ["d"]]);
	});
});

const outputsOf = (model: Model) =>
	roundInputs(model, () => true).errors.map(({ weight: name, places }) => [
		name,
		...places.map(({ output }) => output),
	]);

describe("roundInputs", () => {
	test("errors are those of the sum that an output becomes part of", () => {
		expect(outputsOf(modelOf(chain))).toEqual([
			["a", "first"],
			["b", "second"],
			["c", "sum"],
		]);
		expect(roundInputs(modelOf(chain), (name) => name === "b")).toMatchObject({
			moments: [{ weights: ["b"] }],
			errors: [{ weight: "b", depth: 8, channels: 8 }],
		});
	});

	test.each<[why: string, output: string, change: (b: ModelBuilder) => void]>([
		["an output of the model", "product", (b) => b.output("product")],
		["read twice", "product", (b) => b.node("Relu", ["product"], ["other"])],
		["an Add that makes it longer", "product", (b) => b.initializer("bias", weight([3, 1, 5, 8]))],
		["a bias and nothing else", "y", () => undefined],
	])("%s", (_, output, change) => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, SHAPE);
			b.initializer("w", weight([8, 8]));
			b.initializer("bias", weight([8]));
			change(b);
			b.node("MatMul", ["x", "w"], ["product"]);
			b.node("Add", ["product", "bias"], ["y"]);
			b.output("y");
		});
		expect(outputsOf(model)).toEqual([["w", output]]);
	});

	test("nothing is made good by a Gemm that scales its product", () => {
		const gemm = (alpha: number) =>
			modelOf((b) => {
				b.input("x", DataType.FLOAT, [5, 8]);
				b.initializer("w", weight([8, 4]));
				b.node("Gemm", ["x", "w"], ["y"], { alpha: floatAttribute(alpha) });
				b.output("y");
			});
		expect(outputsOf(gemm(1))).toEqual([["w", "y"]]);
		expect(outputsOf(gemm(2))).toEqual([]);
	});
});

interface Observed {
	readonly model: Model;
	readonly shape: readonly number[];
	/** What the first weight becomes, and what is observed then. */
	readonly first: string;
	readonly second: string;
	readonly inputs: GptqInputs;
}

/** Observes the second weight after a change of the first one, and returns what was seen. */
async function observe({ model, shape, first, second, inputs }: Observed, memory?: number) {
	const { source, values } = samplesOf(shape);
	const observer = new RoundObserver(source, path.join(temporaryFolder(), "rounds"), { memory });
	const weights = new Map([first, second].map((name) => [name, { isObserved: true }] as const));
	expect(await observer.plan(model, weights)).toEqual([[first], [second]]);
	const before = readdirSync(await observer.observe()).sort();
	const value = [...model.graph.initializers].find(({ name }) => name === first)!;
	const tensor = value.initializer!;
	const changed = Float32Array.from(
		floats(tensor.data.read(0, tensor.data.byteLength)),
		(x) => x + 0.1 * Math.sin(9 * x),
	);
	observer.quantized(first, bytesData(bytesOf(changed)));
	const after = new MomentsFolder(await observer.observe()).find(second, inputs)!;
	await observer.close();
	const outputs = async (isChanged: boolean, wanted: readonly string[]) => {
		if (isChanged) value.initializer = floatTensor(tensor.shape, changed);
		const exposed = wanted.map(
			(name) => [...model.graph.nodes].flatMap((n) => n.outputs).find((v) => v.name === name)!,
		);
		for (const output of exposed) model.graph.addOutput(output);
		const bytes = await serializeModel(model);
		const found = await Promise.all(values.map((x) => run(bytes, { x: floatFeed(shape, x) })));
		for (const output of exposed) model.graph.removeOutput(output);
		value.initializer = tensor;
		return found.map((tensors) => wanted.map((name) => floatsOf(tensors[name])));
	};
	return { before, after, outputs };
}

const floats = (bytes: Uint8Array) => new Float32Array(Uint8Array.from(bytes).buffer);

describe("RoundObserver", () => {
	test.each([undefined, 16])(
		"sums up inputs of the quantized model and errors of outputs, memory %s",
		async (memory) => {
			const { before, after, outputs } = await observe(
				{ model: modelOf(chain), shape: SHAPE, first: "a", second: "c", inputs: { depth: 8, groups: 1, channels: 8 } },
				memory,
			);
			expect(before).toEqual(["a.npy", "rows.json"]);
			expect(after.rows).toBe(15);
			const [exact, wrong] = [await outputs(false, ["sum"]), await outputs(true, ["sum", "second"])];
			for (let i = 0; i < 8; i++) {
				for (let j = 0; j < 8; j++) {
					let [moment, error] = [0, 0];
					for (let row = 0; row < 15; row++) {
						const sample = Math.floor(row / 5);
						const at = (row % 5) * 8;
						const [sum, second] = wrong[sample]!;
						moment += (second![at + i]! * second![at + j]!) / 15;
						error += ((exact[sample]![0]![at + i]! - sum![at + i]!) * second![at + j]!) / 15;
					}
					expect(after.matrices[i * 8 + j]).toBeCloseTo(moment, 4);
					expect(after.errors![i * 8 + j]).toBeCloseTo(error, 4);
				}
			}
		},
	);

	test.each([
		[1, [4, 6, 1, 1], [0, 0, 0, 0]],
		[3, [6, 2, 3, 3], [1, 1, 1, 1]],
	] as const)("of convolutions, %i groups", async (group, shape, pads) => {
		const image = [1, 6, 4, 4];
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, image);
			b.initializer("a", weight([6, 6, 1, 1], 0.4));
			b.initializer("c", weight(shape));
			b.node("Conv", ["x", "a"], ["inner"]);
			b.node("Conv", ["inner", "c"], ["y"], { group: intAttribute(group), pads: intsAttribute(pads) });
			b.output("y");
		});
		const depth = shape[1] * shape[2] * shape[3];
		const inputs = { depth, groups: group, channels: shape[0] };
		const { after, outputs } = await observe({ model, shape: image, first: "a", second: "c", inputs });
		expect(after.rows).toBe(48);
		expect(after.matrices).toHaveLength(group * depth * depth);
		const [exact, wrong] = [await outputs(false, ["y"]), await outputs(true, ["y", "inner"])];
		const [groupChannels, groupOutputs] = [shape[1], shape[0] / group];
		for (let channel = 0; channel < shape[0]; channel++) {
			for (let i = 0; i < depth; i++) {
				const source = Math.floor(channel / groupOutputs) * groupChannels + Math.floor(i / (shape[2] * shape[3]));
				const [dy, dx] = [Math.floor(i / shape[3]) % shape[2], i % shape[3]].map((at) => at - pads[0]);
				let error = 0;
				for (let sample = 0; sample < SAMPLES; sample++) {
					const [y, inner] = wrong[sample]!;
					for (let place = 0; place < 16; place++) {
						const [row, column] = [Math.floor(place / 4) + dy!, (place % 4) + dx!];
						if (row < 0 || row > 3 || column < 0 || column > 3) continue;
						const at = channel * 16 + place;
						error += ((exact[sample]![0]![at]! - y![at]!) * inner![source * 16 + row * 4 + column]!) / 48;
					}
				}
				expect(after.errors![channel * depth + i]).toBeCloseTo(error, 4);
			}
		}
	});
});
