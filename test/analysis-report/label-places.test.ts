import { describe, expect, test } from "vitest";
import { type Box, LabelPlaces, overlap } from "../../src/analysis-report/page/label-places.js";

/** A mark in the middle of `x` and `y`. */
function mark(x: number, y: number, size: number): Box {
	return { x: x - size / 2, y: y - size / 2, width: size, height: size };
}

/** As the library puts a label at the right of a mark of 12 pixels. */
function label(x: number, y: number, seriesIndex = 0, dataIndex = 0) {
	return { labelRect: { x: x + 11, y: y - 6, width: 60, height: 12 }, seriesIndex, dataIndex };
}

describe("the place of a label", () => {
	test("is beside its mark where nothing else is", () => {
		const places = new LabelPlaces(() => [mark(100, 100, 12), mark(300, 100, 18)]);
		expect(places.shiftOf(label(100, 100))).toEqual({ dx: 0, dy: 0 });
	});

	test("is beyond the larger mark on the same point", () => {
		const places = new LabelPlaces(() => [mark(100, 100, 12), mark(100, 100, 24)]);
		expect(places.shiftOf(label(100, 100))).toEqual({ dx: 8, dy: 0 });
	});

	test("is off the marks beside it and off other labels, and stays when asked again", () => {
		const marks = [mark(100, 100, 12), mark(130, 104, 18), mark(100, 106, 12)];
		const places = new LabelPlaces(() => marks);
		const boxes = [label(100, 100), label(100, 106, 0, 1)].map((one) => {
			const { dx, dy } = places.shiftOf(one);
			expect(places.shiftOf(one)).toEqual({ dx, dy });
			return { ...one.labelRect, x: one.labelRect.x + dx, y: one.labelRect.y + dy, height: 15 };
		});
		expect(boxes.some((box) => marks.some((other) => overlap(box, other)))).toBe(false);
		expect(overlap(boxes[0]!, boxes[1]!)).toBe(false);
	});

	test("is that of the library where nothing near is free", () => {
		const places = new LabelPlaces(() => [{ x: 0, y: 0, width: 500, height: 500 }]);
		expect(places.shiftOf(label(250, 250))).toEqual({ dx: 0, dy: 0 });
	});
});
