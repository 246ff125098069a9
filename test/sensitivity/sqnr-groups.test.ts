import { expect, test } from "vitest";
import { errorSum } from "../../src/quant/measure.js";
import { groupOperators, groupsCsv, meanSqnrDb, sampleSqnrDb } from "../../src/sensitivity/sqnr-groups.js";

const operator = (layer: number | undefined, rest: string, sqnrDb: number) => ({
	unit: `${layer} ${rest}`,
	path: layer === undefined ? rest : `model.layers.${layer}.${rest}`,
	layer,
	sqnrDb,
});

test("the SQNR of a sample is that of torchao: 20 log10(|x| / |x - y|)", () => {
	const x = Float32Array.of(1, -2, 3, 0.5);
	const y = Float32Array.of(1.1, -1.9, 2.7, 0.5);
	const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
	const expected = 20 * Math.log10(norm([...x]) / norm([...x].map((value, index) => value - y[index]!)));
	expect(sampleSqnrDb(errorSum(x, y))).toBeCloseTo(expected, 10);
	expect(sampleSqnrDb(errorSum(x, x))).toBe(200);
});

test("samples are averaged in dB, those that are not finite left out of the count", () => {
	expect(meanSqnrDb([{ signal: 100, error: 1 }, null, { signal: 10_000, error: 1 }])).toBeCloseTo(30, 10);
	expect(meanSqnrDb([null])).toBeUndefined();
});

test("layers fall into five buckets, the last one with what is left over", () => {
	const operators = Array.from({ length: 23 }, (_, layer) => operator(layer, "mlp.down_proj", layer));
	const groups = groupOperators(operators, 10);
	const byLayer = [...groups].sort((a, b) => a.minDb - b.minDb);
	expect(byLayer.map(({ name, count }) => [name, count])).toEqual([
		["layers.[0-3].mlp.down_proj", 4],
		["layers.[4-7].mlp.down_proj", 4],
		["layers.[8-11].mlp.down_proj", 4],
		["layers.[12-15].mlp.down_proj", 4],
		["layers.[16-22].mlp.down_proj", 7],
	]);
});

test("fewer layers than buckets are a bucket each; what lies in no layer is a group", () => {
	const operators = [operator(0, "wq", 12), operator(1, "wq", 13), operator(undefined, "output.conv", 30)];
	expect(groupOperators(operators, 10).map(({ name }) => name)).toEqual([
		"layers.[0-0].wq",
		"layers.[1-1].wq",
		"output.conv",
	]);
});

test("one bad operator makes its group sensitive; the worst median comes first", () => {
	const groups = groupOperators(
		[
			operator(0, "a", 30),
			operator(1, "a", 9),
			operator(2, "a", 31),
			...[3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14].map((layer) => operator(layer, "a", 20)),
		],
		10,
	);
	expect(groups.map(({ name, medianDb, isSensitive }) => [name, medianDb, isSensitive])).toEqual([
		["layers.[3-5].a", 20, false],
		["layers.[6-8].a", 20, false],
		["layers.[9-11].a", 20, false],
		["layers.[12-14].a", 20, false],
		["layers.[0-2].a", 30, true],
	]);
	expect(groupsCsv(groups.slice(-1))).toBe(
		"group_name,avg_sqnr,median_sqnr,min_sqnr,max_sqnr,count\nlayers.[0-2].a,23.333333333333332,30,9,31,3\n",
	);
});
