/** Numbers that look random, the same for the same seed on every machine (sfc32 of Practically Random). */
export class Random {
	#a: number;
	#b = 0x9e3779b9;
	#c = 0x243f6a88;
	#counter = 1;

	constructor(seed: string) {
		let hash = 0x811c9dc5;
		for (const character of seed) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
		this.#a = hash;
		for (let index = 0; index < 20; index++) this.#next();
	}

	/** From 0 to just below 1. */
	uniform(): number {
		return this.#next() / 2 ** 32;
	}

	/** Mean 0, standard deviation 1. */
	normal(): number {
		return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
	}

	#next(): number {
		const result = (this.#a + this.#b + this.#counter) | 0;
		this.#counter = (this.#counter + 1) | 0;
		this.#a = this.#b ^ (this.#b >>> 9);
		this.#b = (this.#c + (this.#c << 3)) | 0;
		this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
		return result >>> 0;
	}
}
