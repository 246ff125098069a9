import { instantiateWasm, type WasmInstance, type WasmModule } from "./wasm.js";

/** A compiled function with memory that grows as it is needed; compiled with the first use. */
export class WasmKernel {
	readonly #compile: () => WasmModule;
	#instance: WasmInstance | undefined;

	constructor(compile: () => WasmModule) {
		this.#compile = compile;
	}

	/** An instance with so much memory; what an earlier one held is lost when it was too small. */
	withRoom(byteLength: number): WasmInstance {
		if (this.#instance === undefined || this.#instance.memory.byteLength < byteLength) {
			this.#instance = instantiateWasm(this.#compile(), byteLength);
		}
		return this.#instance;
	}
}
