import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { setupHtp } from "../../src/runtime/htp-environment.js";
import { temporaryFolder } from "../repo/run.js";

/* What setup-htp says where its disk is full: the disk is made small, and Python one that fails as it does then. */

const disk = vi.hoisted(() => ({ freeMib: 0 }));

vi.mock("node:fs/promises", async (original) => ({
	...(await original<typeof import("node:fs/promises")>()),
	statfs: async () => ({ bavail: disk.freeMib * 2 ** 8, bsize: 2 ** 12 }),
}));

/** A Python that is one when asked, and cannot make an environment. */
function failingPython(message: string): string {
	const file = path.join(temporaryFolder(), "python");
	writeFileSync(file, `#!/bin/sh\ntest "$1" = -c && exit 0\necho "${message}" >&2\nexit 1\n`);
	chmodSync(file, 0o755);
	return file;
}

describe.skipIf(process.platform !== "linux" || process.arch !== "x64")("setup-htp without space", () => {
	let home = "";
	beforeEach(() => {
		home = path.join(temporaryFolder(), "home");
	});

	test("says how much is left and how much is needed, and leaves nothing", async () => {
		disk.freeMib = 12;
		const python = failingPython("OSError: [Errno 28] No space left on device");
		await expect(setupHtp({ home, python })).rejects.toMatchObject({
			code: "htp/setup-failed",
			message: expect.stringMatching(/its disk has 12 MiB left, and about \d+ are needed/),
		});
		expect(existsSync(home) ? readdirSync(home) : []).toEqual([]);
	});

	test("says what Python said where there is space", async () => {
		disk.freeMib = 2 ** 20;
		const python = failingPython("no module named venv");
		await expect(setupHtp({ home, python })).rejects.toMatchObject({
			code: "htp/setup-failed",
			message: expect.stringContaining("no module named venv"),
		});
	});
});
