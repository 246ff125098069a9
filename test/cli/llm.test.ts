import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeGenaiDirectory } from "../llm/genai-directory.js";
import { qgraph } from "./run.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-llm-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a directory that no model builder wrote, and compiling for nothing", async () => {
	const empty = path.join(folder, "empty");
	mkdirSync(empty);
	const none = await qgraph(folder, "llm", empty, path.join(folder, "none"));
	expect([none.code, none.err]).toEqual([
		1,
		"qgraph: error llm/config: '<folder>/empty' has no genai_config.json, expected a directory that the model builder of ONNX Runtime GenAI wrote\n",
	]);
	const input = path.join(folder, "model");
	writeGenaiDirectory(input);
	const untargeted = await qgraph(folder, "llm", input, path.join(folder, "none"), "--compile");
	expect(untargeted.err).toContain("name a target, such as qnn-htp:v79");
});

test("Ctrl-C says where a second run goes on from", async () => {
	const [input, output] = [path.join(folder, "input"), path.join(folder, "output")];
	writeGenaiDirectory(input);
	const args = ["llm", input, output, "--context", "40", "--prefill", "8", "--recipe", "16a8w"];
	const stop = new AbortController();
	const look = setInterval(() => existsSync(path.join(`${output}.work`, "quantize")) && stop.abort(), 1);
	const first = await qgraph(folder, stop.signal, ...args);
	clearInterval(look);
	expect([first.code, first.err]).toEqual([
		130,
		"qgraph: interrupted; '<folder>/output.work' has what was made until then, the same command goes on with it\n",
	]);
	const second = await qgraph(folder, ...args);
	expect(second.code).toBe(0);
	expect(second.out).toContain("done by an earlier run: split");
	expect(existsSync(`${output}.work`)).toBe(false);
});
