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
