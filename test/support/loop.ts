import { bytesOf, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import type { GraphBuilder } from "./build.js";

/** A Loop of `turns` turns whose body makes the next state, of FLOAT [`shape`], of `state`; returns the name of the last. */
export function loop(
	b: GraphBuilder,
	state: string,
	shape: readonly number[],
	fill: (body: GraphBuilder, state: string) => string,
	turns = 2,
): string {
	b.initializer("turns", int64Tensor([], [turns]));
	b.initializer("always", tensor(DataType.BOOL, [], bytesOf(Uint8Array.of(1))));
	const body = b.subgraph("body", (inner) => {
		inner.input("turn", DataType.INT64, []);
		inner.input("go_in", DataType.BOOL, []);
		inner.input("state", DataType.FLOAT, shape);
		inner.node("Identity", ["go_in"], ["go_out"]);
		const next = fill(inner, "state");
		inner.output("go_out").type = tensorType(DataType.BOOL, []);
		inner.output(next).type = tensorType(DataType.FLOAT, shape);
	});
	b.node("Loop", ["turns", "always", state], ["looped"], { body }, "loop");
	return "looped";
}
