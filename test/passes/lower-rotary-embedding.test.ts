import { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { lowerRotaryEmbedding } from "../../src/passes/lower-rotary-embedding.js";
import { type Attributes, ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed, type Tensors } from "../support/ort.js";
import { mixedSource } from "../support/random.js";
import { expectSameOutputs } from "../support/same-outputs.js";

const [HEADS, SIZE, CONTEXT, BATCH, SEQUENCE] = [3, 16, 12, 2, 5];

interface Options {
	readonly shape?: readonly Dimension[];
	readonly rotated?: number;
	readonly attributes?: Attributes;
	/** One position for the first element of all, or one for each element. */
	readonly offset?: boolean;
	readonly standard?: boolean;
	/** Are the tables inputs of the model? */
	readonly givenTables?: boolean;
	readonly layers?: number;
}

const FLAT: readonly Dimension[] = ["batch", "sequence", HEADS * SIZE];
const BY_HEAD: readonly Dimension[] = ["batch", HEADS, "sequence", SIZE];

function table(half: number, of: (angle: number) => number): Float32Array {
	const angle = (index: number) => Math.floor(index / half) * 100 ** (-(index % half) / half);
	return Float32Array.from({ length: CONTEXT * half }, (_, index) => of(angle(index)));
}

function model({ shape = FLAT, rotated = SIZE, layers = 1, ...options }: Options = {}): Model {
	const builder = new ModelBuilder({ opset: options.standard ? 23 : 21 });
	builder.model.opsetImports.set("com.microsoft", 1);
	builder.input("x", DataType.FLOAT, shape);
	builder.input("positions", DataType.INT64, options.offset ? [1] : ["batch", "sequence"]);
	for (const [name, of] of [
		["cos", Math.cos],
		["sin", Math.sin],
	] as const) {
		if (options.givenTables) builder.input(name, DataType.FLOAT, [CONTEXT, rotated / 2]);
		else builder.initializer(name, floatTensor([CONTEXT, rotated / 2], table(rotated / 2, of)));
	}
	const inputs = options.standard ? ["x", "cos", "sin", "positions"] : ["x", "positions", "cos", "sin"];
	const op = { domain: options.standard ? "" : "com.microsoft", type: "RotaryEmbedding" };
	for (let layer = 0; layer < layers; layer++) {
		builder.node(op, inputs, [`y_${layer}`], options.attributes, `rotary_${layer}`);
		builder.output(`y_${layer}`);
	}
	return builder.build();
}

function feeds(made: Model, rotated = SIZE): Tensors {
	const random = mixedSource(3);
	const lengths: Record<string, number> = { batch: BATCH, sequence: SEQUENCE };
	return Object.fromEntries(
		made.graph.inputs.map(({ name, type }) => {
			const dims = type?.kind === "tensor" ? type.shape! : [];
			const shape = dims.map((dim) => (typeof dim === "number" ? dim : lengths[String(dim)]!));
			const count = shape.reduce((product, dim) => product * dim, 1);
			if (name === "positions") {
				return [
					name,
					new Tensor(
						"int64",
						BigInt64Array.from({ length: count }, (_, index) => BigInt(index % 7) + 2n),
						shape,
					),
				];
			}
			if (name === "cos" || name === "sin") return [name, floatFeed(shape, table(rotated / 2, Math[name]))];
			return [
				name,
				floatFeed(
					shape,
					Float32Array.from({ length: count }, () => 4 * random() - 2),
				),
			];
		}),
	);
}

const INTERLEAVED = { interleaved: intAttribute(1) };
const PARTIAL = { num_heads: intAttribute(HEADS), rotary_embedding_dim: intAttribute(8) };
const NUMBER_OF_HEADS = { num_heads: intAttribute(HEADS) };
const CASES: Readonly<Record<string, Options>> = {
	flat: {},
	"flat, interleaved": { attributes: INTERLEAVED },
	"by head": { shape: BY_HEAD },
	"by head, interleaved": { shape: BY_HEAD, attributes: INTERLEAVED },
	"some elements": { rotated: 8, attributes: PARTIAL },
	"some elements, by head, interleaved": { shape: BY_HEAD, rotated: 8, attributes: { ...PARTIAL, ...INTERLEAVED } },
	"the first position": { offset: true },
	"the first position, by head": { shape: BY_HEAD, offset: true },
	"tables from outside": { givenTables: true },
	"tables from outside, interleaved": { givenTables: true, attributes: INTERLEAVED },
	"the standard operator": { standard: true, attributes: NUMBER_OF_HEADS },
	"the standard operator by head": { standard: true, shape: BY_HEAD, attributes: INTERLEAVED },
};

const types = ({ graph }: Model) => Array.from(graph.nodes, ({ op }) => op.type);

describe("lower-rotary-embedding", () => {
	test.each(Object.entries(CASES))("%s", async (_name, options) => {
		const made = model(options);
		const report = await expectSameOutputs(made, lowerRotaryEmbedding(), feeds(made, options.rotated));
		expect(report.diagnostics).toEqual([]);
		expect(types(made)).not.toContain("RotaryEmbedding");
	});

	test("rows of the tables are read once for all layers", async () => {
		const made = model({ layers: 3 });
		await expectSameOutputs(made, lowerRotaryEmbedding(), feeds(made));
		expect(types(made).filter((type) => type === "Gather")).toHaveLength(2);
	});

	test("writes", async () => {
		await golden(lowerRotaryEmbedding(), "flat", model());
	});

	test.each<[string, Options]>([
		["a scale", { attributes: { scale: floatAttribute(2) } }],
		["packed batches", { attributes: { is_packed_batching: intAttribute(1) } }],
		["an unknown width", { shape: ["batch", "sequence", "width"], rotated: 8, attributes: PARTIAL }],
	])("%s stays", async (name, options) => {
		await golden(lowerRotaryEmbedding(), name.replaceAll(" ", "-"), model(options));
	});
});
