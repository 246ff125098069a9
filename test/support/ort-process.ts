import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Tensor } from "onnxruntime-node";
import type { Tensors } from "./ort.js";

const WORKER = fileURLToPath(new URL("ort-worker.mjs", import.meta.url));
const TIMEOUT_SECONDS = 30;

/** ONNX Runtime in a process of its own, for models that may crash it: `run` of ort.ts that rejects then. */
export class OrtProcess {
	#child: ChildProcess | undefined;

	async run(model: Uint8Array | string, feeds: Tensors): Promise<Tensors> {
		this.#child ??= fork(WORKER, { serialization: "advanced", stdio: "ignore" });
		const child = this.#child;
		const reply = await new Promise<Reply>((resolve) => {
			const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_SECONDS * 1000);
			const done = (answer: Reply) => {
				clearTimeout(timer);
				child.removeAllListeners();
				resolve(answer);
			};
			child.on("message", (answer) => done(answer as Reply));
			child.on("exit", (code, signal) => {
				this.#child = undefined;
				done({ error: `ONNX Runtime ended with ${signal ?? code}` });
			});
			child.send({ model, feeds: mapped(feeds, ({ type, dims, data }) => ({ type, dims, data })) });
		});
		if ("error" in reply) throw new Error(reply.error);
		return mapped(reply.outputs, ({ type, dims, data }) => new Tensor(type, data, dims) as Tensor);
	}

	close(): void {
		this.#child?.kill();
		this.#child = undefined;
	}
}

type Plain = Pick<Tensor, "type" | "dims" | "data">;
type Reply = { readonly outputs: Readonly<Record<string, Plain>> } | { readonly error: string };

function mapped<A, B>(record: Readonly<Record<string, A>>, make: (value: A) => B): Record<string, B> {
	return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, make(value)]));
}
