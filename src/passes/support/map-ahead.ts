/**
 * Maps items with up to `ahead` calls under way; results come in the order of the items. A call that fails ends the walk,
 * when its turn comes.
 */
export async function* mapAhead<I, R>(
	items: readonly I[],
	ahead: number,
	map: (item: I) => Promise<R>,
): AsyncGenerator<readonly [I, R]> {
	const running: Promise<R>[] = [];
	let next = 0;
	for (const item of items) {
		while (running.length < ahead && next < items.length) {
			const call = map(items[next++]!);
			call.catch(() => {});
			running.push(call);
		}
		yield [item, await running.shift()!];
	}
}
