import { parentPort, workerData } from "node:worker_threads";
import { QGraphError } from "../diagnostics.js";
import type { RunnerReply, RunnerRequest } from "./runner-pool.js";
import { SampleRunner } from "./sample-runner.js";

/** A thread that runs samples. Answers every request in its order; the first thing that it sends is an answer, too. */
const port = parentPort!;

function reply(message: RunnerReply, transferred: readonly ArrayBuffer[] = []): void {
	port.postMessage(message, transferred);
}

function failure(error: unknown): RunnerReply {
	const message = error instanceof Error ? error.message : String(error);
	return { failed: { code: error instanceof QGraphError ? error.code : undefined, message } };
}

async function serve(): Promise<void> {
	const runner = await SampleRunner.open(workerData);
	let work = Promise.resolve();
	port.on("message", (request: RunnerRequest) => {
		work = work.then(async () => {
			try {
				if (request.kind === "run") {
					const seen = await runner.run(request.samples, request.only);
					reply(
						{ seen },
						seen.map(({ ranges }) => ranges.buffer),
					);
				} else if (request.kind === "take") {
					const sums = await runner.take();
					reply(
						{ sums },
						[...sums.squares, ...sums.moments].map(({ sums: { buffer } }) => buffer),
					);
				} else {
					await runner.close();
					port.close();
				}
			} catch (error) {
				reply(failure(error));
			}
		});
	});
	reply({ ready: true });
}

serve().catch((error) => reply(failure(error)));
