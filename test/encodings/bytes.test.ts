import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { parseEncodings, readEncodings } from "../../src/encodings/read-encodings.js";
import { encodingsText, writeEncodings } from "../../src/encodings/write-encodings.js";
import { sharedAimet } from "../support/aimet.js";
import { ENCODING_VECTORS, vectorPath } from "./vectors.js";

describe("files of AIMET", () => {
	it.each(ENCODING_VECTORS)("gives back every byte of %s", (name) => {
		const read = readEncodings(vectorPath(name));
		const file = path.join(mkdtempSync(path.join(tmpdir(), "qgraph-")), "out.encodings");
		writeEncodings(read, file);
		expect(readFileSync(file, "utf8")).toBe(readFileSync(vectorPath(name), "utf8"));
	});

	it("does not replace a file unless told to, and leaves none behind", () => {
		const folder = mkdtempSync(path.join(tmpdir(), "qgraph-"));
		const file = path.join(folder, "out.encodings");
		const read = readEncodings(vectorPath(ENCODING_VECTORS[0]!));
		writeEncodings(read, file);
		expect(() => writeEncodings(read, file)).toThrow("exists; use --force to replace it");
		writeEncodings(read, file, { overwrite: true });
		expect(() => writeEncodings(read, path.join(folder, "none", "a"))).toThrow(/^cannot write .*ENOENT/);
		expect(readdirSync(folder)).toEqual(["out.encodings"]);
	});
});

const files = existsSync(sharedAimet)
	? readdirSync(sharedAimet, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".encodings"))
	: [];

describe.skipIf(files.length === 0)("files of AIMET, if ../shared is beside the checkout", () => {
	it("has all of them", () => {
		expect(files.length).toBe(153);
	});
	it.each(files.sort())("gives back every byte of %s", (file) => {
		const read = readEncodings(`${sharedAimet}${file}`);
		expect(read.unknownFields).toEqual(new Map());
		expect(encodingsText(read)).toBe(readFileSync(`${sharedAimet}${file}`, "utf8"));
		expect(parseEncodings(encodingsText(read))).toEqual(read);
	});
});
