/** Smallest step of K that the HTP's LPBQ kernel takes, in elements. */
export const LPBQ_DEPTH_STEP = 32;

/**
 * Does the HTP's LPBQ kernel compute blocks of this size right? Blocks of 4, 8, 24, 40, 48 and 80 were compiled and came out
 * at -16 to 4 dB, of 16 and of multiples of 32 at 75 dB and more.
 */
export function isLpbqBlockSize(blockSize: number): boolean {
	return blockSize === 16 || (blockSize > 0 && blockSize % 32 === 0);
}

/** Does it compute a weight of `depth` inputs a channel in blocks of `blockSize` right? */
export function isLpbqShape(depth: number, blockSize: number): boolean {
	return isLpbqBlockSize(blockSize) && depth % LPBQ_DEPTH_STEP === 0 && depth % blockSize === 0;
}

/** Channels up to which, and inputs below which, any blocks of a multiple of 8 are computed right: one tile of the kernel. */
const TILE = 32;

/** As {@link isLpbqShape}, for a weight of `channels` outputs: small ones are computed right where larger ones are not. */
export function isComputedLpbqShape(depth: number, blockSize: number, channels: number): boolean {
	if (isLpbqShape(depth, blockSize)) return true;
	const isSmall = depth < TILE || (channels > 0 && channels <= TILE);
	return isSmall && blockSize > 0 && blockSize % 8 === 0 && depth % blockSize === 0;
}
