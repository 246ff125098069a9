import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { repoFile } from "../repo/repo.js";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/**
 * A Chromium to test pages in: that of `CHROMIUM`, or one of the system. Under CI=true it must be there: root gets it from
 * Debian's package, which stays in .cache, and everybody else an error. Elsewhere undefined where there is none.
 */
export async function findChromium(): Promise<string | undefined> {
	const found = installedChromium();
	if (found !== undefined || process.env.CI !== "true") return found;
	if (process.getuid?.() === 0 && existsSync("/usr/bin/apt-get")) await installChromium();
	const installed = installedChromium();
	if (installed !== undefined) return installed;
	throw new Error("CI=true, but there is no Chromium; install Debian's package 'chromium' or set CHROMIUM");
}

function installedChromium(): string | undefined {
	const { CHROMIUM, PATH = "" } = process.env;
	if (CHROMIUM !== undefined && CHROMIUM !== "") return CHROMIUM;
	const places = PATH.split(path.delimiter).flatMap((folder) => NAMES.map((name) => path.join(folder, name)));
	return places.find((place) => existsSync(place));
}

async function installChromium(): Promise<void> {
	const archives = repoFile(".cache/apt");
	mkdirSync(path.join(archives, "partial"), { recursive: true });
	const options = ["-o", `Dir::Cache::archives=${archives}`, "-o", "APT::Keep-Downloaded-Packages=true"];
	const install = ["install", "-y", "--no-install-recommends", ...options, "chromium", "fonts-dejavu-core"];
	const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
	const run = (args: readonly string[]) => promisify(execFile)("apt-get", [...args], { env, maxBuffer: 2 ** 26 });
	// the lists that an image comes with may be old or missing
	await run(install).catch(async () => {
		await run(["update"]);
		await run(install);
	});
}
