/** In pixels, from the upper left corner. */
export interface Box {
	readonly x: number;
	readonly y: number;
	readonly width: number;
	readonly height: number;
}

/** What is used of a label that the library is about to place. */
export interface PlacedLabel {
	readonly labelRect: Box;
	readonly seriesIndex: number;
	readonly dataIndex: number;
}

export interface Shift {
	readonly dx: number;
	readonly dy: number;
}

/** Height of a line of a label. */
const LINE = 15;

/** How far a label may go to the right: beyond the largest mark that can be on top of its own. */
const ASIDE = 8;

/** Finds places for labels at the right of their marks, such that they cover neither marks nor each other. */
export class LabelPlaces {
	readonly #marksOf: () => readonly Box[];
	/** Labels that have their places, by series and point. */
	readonly #placed = new Map<string, { readonly shift: Shift; readonly box: Box }>();

	/** @param marksOf asked when a label is placed: before that the chart does not know where its marks are. */
	constructor(marksOf: () => readonly Box[]) {
		this.#marksOf = marksOf;
	}

	/** How far a label must go: as little as possible, 0 where nothing near it is free. The library asks again and again. */
	shiftOf({ labelRect, seriesIndex, dataIndex }: PlacedLabel): Shift {
		const key = `${seriesIndex} ${dataIndex}`;
		const known = this.#placed.get(key);
		if (known !== undefined) return known.shift;
		const taken = [...this.#marksOf(), ...[...this.#placed.values()].map(({ box }) => box)];
		// the rectangle is that of small letters
		const moved = ({ dx, dy }: Shift): Box => ({
			...labelRect,
			x: labelRect.x + dx,
			y: labelRect.y + dy,
			height: LINE,
		});
		const steps = Array.from({ length: 2 * LINE }, (_, step) => step);
		const shifts = steps.flatMap((step) => [step, -step].flatMap((dy) => [0, ASIDE].map((dx): Shift => ({ dx, dy }))));
		const isFree = (shift: Shift) => !taken.some((box) => overlap(moved(shift), box));
		const shift = shifts.find(isFree) ?? { dx: 0, dy: 0 };
		this.#placed.set(key, { shift, box: moved(shift) });
		return shift;
	}
}

export function overlap(a: Box, b: Box): boolean {
	return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
