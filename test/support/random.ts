/** Reproducible pseudo-random numbers in [0, 1): a 32-bit multiply-with-carry generator, the same on every machine. */
export function randomSource(seed: number): () => number {
	let low = (seed >>> 0) + 1;
	let high = 0x9e3779b9;
	return () => {
		high = (36969 * (high & 0xffff) + (high >>> 16)) >>> 0;
		low = (18000 * (low & 0xffff) + (low >>> 16)) >>> 0;
		return (((high << 16) + (low & 0xffff)) >>> 0) / 2 ** 32;
	};
}

/** As {@link randomSource}, from the first number on quite another sequence for every seed (splitmix32). */
export function mixedSource(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x9e3779b9) >>> 0;
		let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
		mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
		return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
	};
}
