import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ELEMENTWISE_EVALUATORS } from "../../src/inference/evaluate/elementwise.js";
import { MOVEMENT_EVALUATORS } from "../../src/inference/evaluate/movement.js";
import { inferTypes } from "../../src/inference/index.js";
import { CONTRIB_RULES } from "../../src/inference/rules/contrib.js";
import { STANDARD_RULES } from "../../src/inference/rules/index.js";
import {
	type Attribute,
	floatAttribute,
	intAttribute,
	intsAttribute,
	stringAttribute,
} from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { modelOf } from "../support/build.js";

/** `QGRAPH_FUZZ_RUNS=100000 npx vitest run test/inference/hostile.test.ts` runs for minutes. */
const numRuns = Number(process.env.QGRAPH_FUZZ_RUNS ?? 1000);

const standard = [
	...STANDARD_RULES.keys(),
	...Object.keys(MOVEMENT_EVALUATORS),
	...Object.keys(ELEMENTWISE_EVALUATORS),
];
const operator = fc.oneof(
	{ weight: 6, arbitrary: fc.constantFrom(...new Set(standard)).map((type) => ({ domain: "", type })) },
	fc.constantFrom(...Object.keys(CONTRIB_RULES)).map((type) => ({ domain: "com.microsoft", type })),
);

/** Lengths, indices and counts: what models have, and what no tensor can have. */
const number = fc.oneof(
	{ weight: 8, arbitrary: fc.integer({ min: -3, max: 6 }) },
	fc.constantFrom(2 ** 31 - 1, 2 ** 31, 2 ** 33, 2 ** 52, -(2 ** 31), -(2 ** 52)),
);
const dimension: fc.Arbitrary<Dimension> = fc.oneof(
	{ weight: 3, arbitrary: number },
	fc.constantFrom("n", "m", "", undefined),
);
const operand = fc.oneof(
	fc.record({
		kind: fc.constant("tensor" as const),
		shape: fc.option(fc.array(dimension, { maxLength: 5 }), { nil: undefined }),
		dtype: fc.constantFrom(DataType.FLOAT, DataType.INT64, DataType.INT4, DataType.UINT8, DataType.STRING, 99),
	}),
	fc.record({
		kind: fc.constant("constant" as const),
		elements: fc.array(number, { maxLength: 5 }),
		isScalar: fc.boolean(),
	}),
	fc.record({ kind: fc.constant("absent" as const) }),
);

const LISTS = new Set(
	(
		"axes kernel_shape shape perm pads value_ints strides scan_output_axes scan_input_axes qkv_hidden_sizes pooled_shape " +
		"paddings output_shape output_padding ngram_indexes extra_shape dilations split starts ends"
	).split(" "),
);
const TEXTS = new Set("auto_pad reduction keep_aspect_ratio_policy pixel_format equation direction".split(" "));
const FLOATS = new Set("value_float min max height_scale width_scale".split(" "));

/** Attributes of any name that a rule asks for, or none. */
const attributes = fc
	.record({
		numbers: fc.array(number, { minLength: 1, maxLength: 6 }),
		text: fc.constantFrom("SAME_UPPER", "ij,jk->ik", "...ij->j", "bidirectional", "", "none"),
		given: fc.integer({ min: 0, max: 3 }),
	})
	.map(({ numbers, text, given }) => (name: string): Attribute | undefined => {
		if (name.length % 4 > given) return undefined;
		if (LISTS.has(name)) return intsAttribute(numbers);
		if (TEXTS.has(name)) return stringAttribute(text);
		return FLOATS.has(name) ? floatAttribute(numbers[0]!) : intAttribute(numbers[name.length % numbers.length]!);
	});

describe("types of hostile models", () => {
	it("are inferred without failing, whatever operators get", { timeout: 60_000 + numRuns * 50 }, () => {
		const property = fc.property(
			operator,
			fc.array(operand, { maxLength: 6 }),
			attributes,
			fc.constantFrom(1, 8, 11, 13, 18, 21),
			(op, operands, attributeOf, opset) => {
				const model = modelOf((b) => {
					b.model.opsetImports.set("", opset);
					const inputs = operands.map((each, index) => {
						const name = `x${index}`;
						if (each.kind === "absent") return "";
						if (each.kind === "tensor") b.input(name, each.dtype, each.shape);
						else if (each.isScalar) b.initializer(name, int64Tensor([], [each.elements[0] ?? 0]));
						else b.initializer(name, int64Tensor([each.elements.length], each.elements));
						return name;
					});
					const node = b.node(op, inputs, ["y", "z"]);
					node.attributes.get = attributeOf;
					b.node("Shape", ["y"], ["shape"]);
					b.node("Reshape", ["z", "shape"], ["last"]);
					b.output("last");
				});
				const types = inferTypes(model);
				for (const name of ["y", "z", "last"]) {
					const value = [...model.graph.nodes].flatMap(({ outputs }) => outputs).find((each) => each.name === name)!;
					expect(types.shapeOf(value)?.length ?? 0).toBeLessThan(10_000);
				}
			},
		);
		fc.assert(property, { numRuns });
	});
});

it("functions that call each other with ever other shapes take bounded time", () => {
	const depth = 30;
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1]);
		b.node({ domain: "f", type: "F0" }, ["x"], ["y"]);
		b.output("y");
		for (let level = 0; level < depth; level++) {
			b.function("f", `F${level}`, (body) => {
				body.input("a");
				body.initializer("extra", int64Tensor([1], [1]));
				body.node("Concat", ["a", "a"], ["even"], { axis: intAttribute(0) });
				body.node("Concat", ["a", "a", "extra"], ["odd"], { axis: intAttribute(0) });
				const callee = level + 1 < depth ? { domain: "f", type: `F${level + 1}` } : "Relu";
				body.node(callee, ["even"], ["p"]);
				body.node(callee, ["odd"], ["q"]);
				body.node("Add", ["p", "q"], ["r"]);
				body.output("r");
			});
		}
	});
	expect(inferTypes(model).shapeOf(model.graph.outputs[0]!)).toBeUndefined();
});
