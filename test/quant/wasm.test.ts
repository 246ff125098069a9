import { expect, it } from "vitest";
import {
	compileWasm,
	f32,
	f32x4,
	f64,
	get,
	i32,
	instantiateWasm,
	repeatWhile,
	set,
	when,
} from "../../src/quant/wasm.js";

it("encodes constants of every length", () => {
	const constants = [0, 1, 63, 64, 127, 128, 8191, 8192, 2 ** 31 - 1, -1, -64, -65, -(2 ** 31)];
	const code = constants.flatMap((value, i) => i32.store(i32.const(0), 4 * i, i32.const(value)));
	const { memory, run } = instantiateWasm(compileWasm(0, [], code), 64);
	run();
	expect(Array.from(new Int32Array(memory, 0, constants.length))).toEqual(constants);
});

it("addresses far into the memory that was asked for", () => {
	const { memory, run } = instantiateWasm(compileWasm(1, [], i32.store(get(0), 200_000, i32.const(7))), 300_004);
	run(100_000);
	expect(new Int32Array(memory)[75_000]).toBe(7);
});

it("loops, decides and computes with scalars and vectors", () => {
	// replaces the start of every vector whose product of lanes 1 and 2, squared, is below 1000 by lane 0 + lane 3
	const [ADDRESS, SUM, VECTOR] = [1, 2, 3] as const;
	const lane = (index: number) => f64.fromF32(f32x4.lane(f32x4.mul(get(VECTOR), get(VECTOR)), index));
	const code = [
		...repeatWhile(
			i32.less(get(ADDRESS), get(0)),
			set(VECTOR, f32x4.load(get(ADDRESS))),
			set(SUM, f64.fromF32(f32.add(f32x4.lane(get(VECTOR), 0), f32x4.lane(get(VECTOR), 3)))),
			when(f64.less(f64.mul(lane(1), lane(2)), f64.const(1000)), f64.store(get(ADDRESS), 0, get(SUM))),
			set(ADDRESS, i32.add(get(ADDRESS), i32.const(16))),
		),
	];
	const { memory, run } = instantiateWasm(compileWasm(1, [i32.type, f64.type, f32x4.type], code), 32);
	new Float32Array(memory).set([1, 2, 3, 4.5, 10, 20, 30, 40]);
	run(32);
	expect(new Float64Array(memory)[0]).toBe(5.5);
	expect(new Float32Array(memory)[4]).toBe(10);
});
