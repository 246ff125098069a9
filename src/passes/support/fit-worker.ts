import { parentPort } from "node:worker_threads";
import { QGraphError } from "../../diagnostics.js";
import { type FitTask, runFitTask } from "./fit-tasks.js";

/** Answers every task with its result or with what went wrong; errors lose their class on the way, so parts are sent. */
parentPort?.on("message", (task: FitTask) => {
	try {
		parentPort?.postMessage({ result: runFitTask(task) });
	} catch (error) {
		const known = error instanceof QGraphError ? { code: error.code, message: error.message, at: error.at } : undefined;
		parentPort?.postMessage({ error: known ?? error });
	}
});
