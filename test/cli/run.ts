import { Writable } from "node:stream";
import { runCli } from "../../src/cli/cli.js";

/** Runs one command line in this process, which `signal` interrupts as Ctrl-C does; paths below `folder` are shown as <folder>. */
export async function qgraph(
	folder: string,
	...given: readonly (string | AbortSignal)[]
): Promise<{ code: number; out: string; err: string }> {
	const [out, err] = [new Collector(), new Collector()];
	const args = given.flatMap((argument) => (typeof argument === "string" ? [argument] : []));
	const stop = given.find((argument) => argument instanceof AbortSignal) ?? new AbortController().signal;
	const code = await runCli(args, { out, err, interactive: false, columns: 120 }, stop);
	return { code, out: out.text.replaceAll(folder, "<folder>"), err: err.text.replaceAll(folder, "<folder>") };
}

/** What the terminal shows, for golden files. */
export function transcript(args: readonly string[], result: { code: number; out: string; err: string }): string {
	return `$ qgraph ${args.join(" ")}\n${result.out}${result.err}exit code ${result.code}\n`;
}

class Collector extends Writable {
	text = "";

	override _write(chunk: Buffer, _encoding: string, done: () => void): void {
		this.text += chunk.toString();
		done();
	}
}
