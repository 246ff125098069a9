import { parentPort } from "node:worker_threads";
import { QGraphError } from "../../diagnostics.js";
import { type FitResult, type FitTask, runFitTask } from "./fit-tasks.js";

/** Answers every task with its result or with what went wrong; errors lose their class on the way, so parts are sent. */
parentPort?.on("message", (task: FitTask) => {
	try {
		const result = runFitTask(task);
		parentPort?.postMessage({ result }, ownBuffers(result));
	} catch (error) {
		const known = error instanceof QGraphError ? { code: error.code, message: error.message, at: error.at } : undefined;
		parentPort?.postMessage({ error: known ?? error });
	}
});

/** Memory of arrays that nothing else uses, which moves to the reader instead of being copied. */
function ownBuffers(result: FitResult): ArrayBuffer[] {
	const arraysIn = (value: unknown): ArrayBufferView[] => {
		if (ArrayBuffer.isView(value)) return [value];
		return typeof value === "object" && value !== null ? Object.values(value).flatMap(arraysIn) : [];
	};
	const buffers = arraysIn(result).flatMap(({ buffer, byteLength }) =>
		buffer instanceof ArrayBuffer && byteLength === buffer.byteLength ? [buffer] : [],
	);
	return [...new Set(buffers)];
}
