import type { InnerComparison, ValueComparison, Verification } from "../index.js";
import { failureText } from "./runtime-flags.js";
import { decibelText, plain, table } from "./terminal.js";

/** What came of running two models, for people. */
export function renderVerification(result: Verification): string {
	const { failure, innerFailure, on } = result;
	const doing = (stage: "load" | "run", isOnHtp: boolean) =>
		stage === "run" ? "running" : isOnHtp ? `being compiled for ${on}` : "being loaded";
	if (failure !== null) {
		const isOnHtp = failure.model === "converted" && on !== "cpu";
		return failureText(`the ${failure.model} model`, doing(failure.stage, isOnHtp), failure);
	}
	const parts = [outputTable(result.outputs)];
	if (result.inner.length > 0) parts.push(innerTable(result));
	if (innerFailure !== null) {
		const isOnHtp = innerFailure.model === "converted" && on !== "cpu";
		const what = `with the values inside as outputs the ${innerFailure.model} model`;
		parts.push(failureText(what, doing(innerFailure.stage, isOnHtp), innerFailure));
	}
	parts.push(verdict(result));
	return parts.join("\n\n");
}

function verdict({ passed, worstSqnrDb, minSqnrDb, samples, outputs, on, seconds }: Verification): string {
	const where = on === "cpu" ? "on the CPU" : `on ${on}`;
	const count = `${samples} ${samples === 1 ? "sample" : "samples"}`;
	const problem = outputs.find((output) => output.problem !== null);
	const limit = minSqnrDb === null ? "" : ` (--min-sqnr ${minSqnrDb})`;
	const figure =
		problem === undefined
			? `${decibelText(worstSqnrDb)} at worst`
			: `output '${plain(problem.name)}': ${problem.problem}`;
	const loading = on === "cpu" ? "loaded" : "compiled";
	const times = `${loading} in ${seconds.convertedLoad.toFixed(1)} s, ran in ${seconds.convertedRun.toFixed(1)} s`;
	// without a limit there is nothing to pass
	const result = !passed ? "failed" : minSqnrDb === null && worstSqnrDb !== null ? "compared" : "passed";
	return `${result}: ${figure}${limit}, ${count} ${where}, ${times}`;
}

function outputTable(outputs: readonly ValueComparison[]): string {
	return table(["output", "shape", "SQNR", "largest error"], outputs.map(figures));
}

function innerTable({ inner, firstWrong }: Verification): string {
	const rows = inner.map((value) => [
		...figures(value),
		lossText(value),
		value.op,
		value.name === firstWrong ? `${value.node} <- goes wrong here first` : value.node,
	]);
	return table(["value", "shape", "SQNR", "largest error", "lost", "operator", "node"], rows);
}

function figures({ name, shape, sqnrDb, maxAbsError, problem }: ValueComparison): string[] {
	if (problem !== null) return [name, shape.join("x"), "wrong", problem];
	return [name, shape.join("x"), decibelText(sqnrDb), maxAbsError.toPrecision(3)];
}

/** What is lost here, where it is more than the scatter of figures. */
function lossText({ lostDb }: InnerComparison): string {
	return lostDb !== null && lostDb >= 1 ? `${lostDb.toFixed(1)} dB` : "";
}
