import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { ModelBuilder } from "../support/build.js";
import { mixedSource } from "../support/random.js";

export const [LAYERS, SEQUENCE, HIDDEN, INNER] = [20, 16, 32, 64] as const;
/** Of logits. */
export const VOCABULARY = 300;

/** What is bad, and where. */
export const PLANTED = {
	/** Its input has a channel that is far larger than all others. */
	outlier: "model.layers.5.mlp.down_proj.weight",
	/** A few weights are far larger than all others. */
	heavy: "model.layers.9.self_attn.o_proj.weight",
	/** Its input reaches far with a channel that hardly any weight looks at. */
	wide: "model.layers.14.mlp.down_proj.weight",
	/** As `heavy`, in a decoder of few layers. */
	early: "model.layers.1.self_attn.o_proj.weight",
} as const;

/**
 * A decoder: attention of one head, an MLP with Relu, a head to logits. Layers add little to what they read, so
 * that the noise of one is not much of the next one's input. With 20 layers three of them are bad.
 */
export function plantedDecoder(layers: number): Model {
	const builder = new ModelBuilder();
	const random = mixedSource(7);
	const normal = () => random() + random() + random() - 1.5;
	const constant = (name: string, shape: readonly number[], values: (index: number) => number) => {
		const count = shape.reduce((product, length) => product * length, 1);
		builder.initializer(
			name,
			floatTensor(
				shape,
				Float32Array.from({ length: count }, (_, index) => values(index)),
			),
		);
		return name;
	};
	const linear = (x: string, name: string, inputs: number, outputs: number, gain = 1) => {
		const weight = `${name}.weight`;
		const values = Float32Array.from({ length: inputs * outputs }, () => (gain * 2 * normal()) / Math.sqrt(inputs));
		if (weight === PLANTED.outlier)
			for (let column = 0; column < outputs; column++) values[3 * outputs + column]! /= 60;
		if (weight === PLANTED.heavy || (weight === PLANTED.early && layers < LAYERS))
			for (let row = 0; row < inputs; row++) values[row * outputs + ((7 * row) % outputs)]! *= 12;
		if (weight === PLANTED.wide) for (let column = 0; column < outputs; column++) values[7 * outputs + column] = 0;
		constant(weight, [inputs, outputs], (index) => values[index]!);
		builder.node("MatMul", [x, weight], [name], {}, `/${name.replaceAll(".", "/")}/MatMul`);
		return name;
	};
	builder.input("x", DataType.FLOAT, [1, SEQUENCE, HIDDEN]);
	let stream = "x";
	for (let layer = 0; layer < layers; layer++) {
		const prefix = `model.layers.${layer}`;
		const part = (name: string) => `${prefix}.${name}`;
		const [q, k, v] = ["q", "k", "v"].map((name) => linear(stream, part(`self_attn.${name}_proj`), HIDDEN, HIDDEN));
		builder.node("Transpose", [k!], [part("keys")], { perm: intsAttribute([0, 2, 1]) });
		builder.node("MatMul", [q!, part("keys")], [part("scores")], {}, `/${part("scores")}`);
		builder.node("Softmax", [part("scores")], [part("weights")], { axis: intAttribute(-1) });
		builder.node("MatMul", [part("weights"), v!], [part("attended")], {}, `/${part("attended")}`);
		const attention = linear(part("attended"), part("self_attn.o_proj"), HIDDEN, HIDDEN, 0.05);
		builder.node("Add", [stream, attention], [part("middle")]);
		const up = linear(part("middle"), part("mlp.up_proj"), HIDDEN, INNER);
		const gain = (index: number) => (layer === 5 && index === 3 ? 60 : layer === 14 && index === 7 ? 20_000 : 1);
		constant(part("gain"), [INNER], gain);
		builder.node("Mul", [up, part("gain")], [part("scaled")]);
		builder.node("Relu", [part("scaled")], [part("inner")]);
		const down = linear(part("inner"), part("mlp.down_proj"), INNER, HIDDEN, 0.05);
		builder.node("Add", [part("middle"), down], [part("out")]);
		stream = part("out");
	}
	builder.output(linear(stream, "lm_head", HIDDEN, VOCABULARY));
	return builder.model;
}
