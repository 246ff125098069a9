import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import { ENCODINGS_VERSIONS, type Encodings, type EncodingsVersion, type TensorEncoding } from "./encoding.js";
import { invalid } from "./fields.js";
import { JsonReader, type JsonSource, type JsonValue } from "./json-reader.js";
import { readLegacySection } from "./read-legacy.js";
import { readVersion1Section } from "./read-version-1.js";
import { readVersion2Section } from "./read-version-2.js";

/**
 * Reads an AIMET or QAIRT encodings file of version 0.6.1, 1.0.0, 2.0.0 or 2.1.0. The file is read twice, a MiB at a time;
 * in memory is what it says, 8 bytes a number, not its text.
 *
 * @throws QGraphError `encodings/not-found`, `encodings/not-json`, `encodings/version`, or `encodings/invalid`, which names
 * the tensor, the field, what was found and what was expected.
 */
export function readEncodings(file: string): Encodings {
	let descriptor: number;
	try {
		descriptor = openSync(file, "r");
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("encodings/not-found", `cannot read '${file}': ${reason}`, { file }, { cause: error });
	}
	try {
		return decodeEncodings({
			name: file,
			byteLength: fstatSync(descriptor).size,
			read: (start, end) => {
				const bytes = new Uint8Array(end - start);
				return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.byteLength, start));
			},
		});
	} finally {
		closeSync(descriptor);
	}
}

/** The same of a text in memory; `name` is what to call it in messages. */
export function parseEncodings(text: string | Uint8Array, name = "encodings"): Encodings {
	const bytes = typeof text === "string" ? Buffer.from(text) : text;
	return decodeEncodings({ name, byteLength: bytes.byteLength, read: (start, end) => bytes.subarray(start, end) });
}

function decodeEncodings(source: JsonSource): Encodings {
	const version = versionOf(source);
	const place = { file: source.name, version };
	const sections = new Map<string, TensorEncoding[]>();
	const header = new Map<string, JsonValue>();
	const unknown = new Map<string, number>();
	const reader = new JsonReader(source);
	const needed = version.startsWith("2") ? ["encodings"] : ["param_encodings", "activation_encodings"];
	const readSection = version === "0.6.1" ? readLegacySection : readVersion1Section;
	reader.object((key) => {
		if (HEADER.includes(key)) header.set(key, reader.value());
		else if (!needed.includes(key)) reader.skip();
		else if (key === "encodings") sections.set(key, readVersion2Section(reader, place, unknown));
		else {
			const section = key === "param_encodings" ? "parameter" : "activation";
			sections.set(key, readSection(reader, place, section, unknown));
		}
	});
	reader.end();
	const entries = needed.flatMap((section) => {
		const found = sections.get(section);
		if (found === undefined) throw invalid(place, `section '${section}' is missing, expected in version ${version}`);
		return found;
	});
	const names = new Set<string>();
	for (const { name } of entries) {
		if (names.has(name)) throw invalid(place, `there are two encodings of '${name}', expected one`);
		names.add(name);
	}
	return { version, entries, header, unknownFields: unknown };
}

/** What files have beside their encodings. */
const HEADER: readonly string[] = ["producer", "quantizer_args"];

/** Files have their version at the end. */
function versionOf(source: JsonSource): EncodingsVersion {
	const reader = new JsonReader(source);
	let found: JsonValue | undefined;
	if (!reader.isAtObject()) {
		throw new QGraphError("encodings/version", `'${source.name}' is no JSON object, expected one with a 'version'`, {
			file: source.name,
		});
	}
	reader.object((key) => {
		if (key === "version") found = reader.value();
		else reader.skip();
	});
	const version = ENCODINGS_VERSIONS.find((known) => known === found);
	if (version !== undefined) return version;
	const is = found === undefined ? "no 'version'" : `version ${JSON.stringify(found)}`;
	throw new QGraphError("encodings/version", `'${source.name}' has ${is}, expected ${ENCODINGS_VERSIONS.join(", ")}`, {
		file: source.name,
	});
}
