import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { allGraphs } from "../../src/ir/walk.js";
import { readModel, serializeModel, writeModel } from "../../src/onnx/file.js";
import { failure, listing, temporaryFolder } from "../support/onnx-files.js";
import { recordOf } from "../support/onnx-records.js";

interface Entry {
	readonly path: string;
	readonly n_nodes: number;
	readonly n_initializers: number;
	readonly n_subgraphs: number;
	readonly external_data: { readonly files: readonly string[]; readonly present: boolean } | null;
	/** Does Python's protobuf write the file as it is? Then its fields are in order. */
	readonly py_reserialize_identical: boolean;
}

/** Public test models of other projects, beside the checkout on developers' machines and in CI; no part of the repository. */
const corpus = fileURLToPath(new URL("../../../shared/corpus", import.meta.url));
const inventory: readonly Entry[] = existsSync(corpus)
	? JSON.parse(readFileSync(path.join(corpus, "INVENTORY.json"), "utf8"))
	: [];

const HOSTILE = "ortqnn/onnxruntime/test/testdata/test_arbitrary_external_file.onnx";
const files = inventory.filter((entry) => entry.path !== HOSTILE);
const inOrder = files.filter((entry) => entry.py_reserialize_identical && entry.external_data === null);
const outOfOrder = files.filter((entry) => !entry.py_reserialize_identical);
const external = files.filter((entry) => entry.external_data !== null);

/** Runs a check on each file and lists those that fail, so that one failure does not hide the others. */
async function expectOfEach(
	entries: readonly Entry[],
	check: (entry: Entry) => Promise<string | undefined>,
): Promise<void> {
	expect(entries.length).toBeGreaterThan(0);
	const failures: string[] = [];
	for (const entry of entries) {
		const problem = await check(entry).catch((error: unknown) => String(error));
		if (problem !== undefined) failures.push(`${entry.path}: ${problem}`);
	}
	expect(failures).toEqual([]);
}

describe.skipIf(!existsSync(corpus))("the corpus in ../shared/corpus", () => {
	const at = temporaryFolder();

	it("is all in one of the groups below", () => {
		expect(inOrder.length + outOfOrder.length + external.length + 1).toBe(inventory.length);
		expect(inventory.some((entry) => entry.path === HOSTILE)).toBe(true);
	});

	it("comes out byte for byte where it was written in the order of the fields", async () => {
		await expectOfEach(inOrder, async (entry) => {
			const file = path.join(corpus, entry.path);
			const isSame = readFileSync(file).equals(serializeModel(await readModel(file)));
			return isSame ? undefined : "other bytes";
		});
	});

	it("comes out with the same fields where it was not", async () => {
		await expectOfEach(outOfOrder, async (entry) => {
			const file = path.join(corpus, entry.path);
			const written = serializeModel(await readModel(file));
			expect(recordOf(written, "ModelProto"), entry.path).toEqual(recordOf(readFileSync(file), "ModelProto"));
			return undefined;
		});
	});

	it("has the nodes, initializers and subgraphs that the inventory counts", async () => {
		await expectOfEach(files, async (entry) => {
			const model = await readModel(path.join(corpus, entry.path));
			const found = { n_nodes: 0, n_initializers: 0, n_subgraphs: 0 };
			for (const { graph } of allGraphs(model)) {
				// The inventory counts the subgraphs of function bodies, but not what stands in the bodies themselves.
				if (graph.isFunctionBody) continue;
				found.n_nodes += graph.nodes.length;
				found.n_initializers += graph.initializers.size;
				if (graph !== model.graph) found.n_subgraphs++;
			}
			const isSame = Object.entries(found).every(([key, count]) => entry[key as keyof typeof found] === count);
			return isSame ? undefined : JSON.stringify(found);
		});
	});

	it.each(["auto", "keep"] as const)(
		"comes out byte for byte with its data files, where it has some: %s",
		async (externalData) => {
			await expectOfEach(external, async (entry) => {
				const file = path.join(corpus, entry.path);
				const folder = at(entry.path);
				mkdirSync(folder, { recursive: true });
				await writeModel(await readModel(file), path.join(folder, "written.onnx"), { externalData });
				expect(readFileSync(path.join(folder, "written.onnx")).equals(readFileSync(file))).toBe(true);
				const dataFiles = entry.external_data?.present ? (entry.external_data.files ?? []) : [];
				expect(listing(folder)).toEqual([...dataFiles, "written.onnx"].sort());
				for (const name of dataFiles) {
					expect(readFileSync(path.join(folder, name)).equals(readFileSync(path.join(file, "..", name)))).toBe(true);
				}
				return undefined;
			});
		},
	);

	it("has one hostile file, which is refused", async () => {
		const error = await failure(() => readModel(path.join(corpus, HOSTILE)));
		expect(error).toMatchObject({ name: "QGraphError", code: "external-data/outside" });
		expect(error.message).toContain("etc/passwd");
	});
});
