import { InferenceSession, Tensor } from "onnxruntime-node";

/*
 * Runs models that may crash ONNX Runtime, one after the other: a message { model, feeds } comes in, { outputs } or
 * { error } goes out. Tensors are { type, dims, data }; see ort-process.ts, which starts this.
 */

process.on("message", async ({ model, feeds }) => {
	try {
		process.send({ outputs: await run(model, feeds) });
	} catch (error) {
		process.send({ error: error instanceof Error ? error.message : String(error) });
	}
});

async function run(model, feeds) {
	const session = await InferenceSession.create(model, {
		executionProviders: ["cpu"],
		graphOptimizationLevel: "disabled",
		logSeverityLevel: 4,
	});
	try {
		const tensors = Object.entries(feeds).map(([name, { type, dims, data }]) => [name, new Tensor(type, data, dims)]);
		const outputs = await session.run(Object.fromEntries(tensors), { logSeverityLevel: 4 });
		return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, plain(name, value)]));
	} finally {
		await session.release();
	}
}

function plain(name, value) {
	if (!(value instanceof Tensor)) throw new Error(`output '${name}' is no tensor`);
	return { type: value.type, dims: value.dims, data: value.data };
}
