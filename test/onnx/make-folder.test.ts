import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { makeFolder } from "../../src/onnx/make-folder.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-folder-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("makes what is missing, and says from where on", async () => {
	const inner = path.join(folder, "a", "b", "c");
	expect(await makeFolder(inner)).toBe(path.join(folder, "a"));
	expect(existsSync(inner)).toBe(true);
	expect(await makeFolder(inner)).toBeUndefined();
});

it.runIf(process.platform === "linux")("ends where there can be no folder", async () => {
	await expect(makeFolder("/proc/no/folder")).rejects.toMatchObject({ code: "ENOENT" });
});
