import { writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import {
	checkLinear,
	type KernelFunction,
	kernelCommand,
	type LinearConfig,
	linearDq8caQ4gsw,
	linearLpbq,
	linearQ4gsw,
	linearQcs4w,
	linearQta8aQga4wQta8o,
	type RoundingMode,
} from "../../src/reference/reference.js";
import { qgraph } from "../cli/run.js";
import { temporaryFolder } from "../repo/run.js";
import { naive } from "./naive.js";

const right: KernelFunction = ({ kernel, config, inputs }) => naive(kernel.name, config, inputs);

/** A command that gives zeros, or what `edit` makes of the arrays; it reads and writes .npz files by itself. */
function command(edit = ""): string {
	const script = path.join(temporaryFolder(), "a kernel.mjs");
	const fflate = pathToFileURL(fileURLToPath(import.meta.resolve("fflate"))).href;
	writeFileSync(
		script,
		`import { readFileSync, writeFileSync } from "node:fs";
import { unzipSync, zipSync } from "${fflate}";
const [input, output, name] = process.argv.slice(2);
const files = unzipSync(readFileSync(input));
const array = (file) => {
	const start = 10 + files[file][8] + 256 * files[file][9];
	const header = Buffer.from(files[file].subarray(10, start)).toString("latin1");
	return { header, data: files[file].slice(start).buffer };
};
const sizes = (file) => array(file).header.match(/'shape': \\(([^)]*)\\)/)[1].split(",").filter((s) => s.trim()).map(Number);
const npy = (descr, shape, bytes) => {
	const header = \`{'descr': '\${descr}', 'fortran_order': False, 'shape': (\${shape.map((s) => s + ",").join(" ")}), }\`.padEnd(117) + "\\n";
	return Buffer.concat([Buffer.from("\\x93NUMPY\\x01\\x00v\\x00" + header, "latin1"), Buffer.from(bytes)]);
};
const rows = sizes("input.npy")[0];
const depth = sizes("input.npy")[1];
const channels = sizes("weight.npy")[0];
const out = new Float32Array(rows * channels);
${edit}
writeFileSync(output, zipSync({ "output.npy": npy("<f4", [rows, channels], new Uint8Array(out.buffer)) }));
`,
	);
	return `'${process.execPath}' "${script}" {in} {out}`;
}

/** linear_qcs4w in the script's terms. */
const QCS4W = `
const x = new Float32Array(array("input.npy").data), w = new Uint8Array(array("weight.npy").data), s = new Float32Array(array("scales.npy").data);
for (let m = 0; m < rows; m++) for (let n = 0; n < channels; n++) {
	let sum = 0;
	for (let k = 0; k < depth; k++) {
		const byte = w[(n * depth + k) >> 1];
		sum += x[m * depth + k] * ((k % 2 ? byte & 15 : byte >> 4) - 8) * s[n];
	}
	out[m * channels + n] = sum;
}`;

describe("a disagreement", () => {
	it("names the place, both values and the sums behind them", async () => {
		const run: KernelFunction = (call) => {
			const output = (right(call) as Int8Array).slice();
			output[9]! -= 100;
			return { output, sums: new Float32Array(output.length).fill(7) };
		};
		const { disagreement, passed, published } = await checkLinear(linearQta8aQga4wQta8o, { run });
		expect({ passed, published }).toEqual({ passed: false, published: 0 });
		expect(disagreement).toMatchObject({
			data: "typical",
			seed: 0,
			config: { rows: 2, depth: 8, channels: 8 },
			value: { output: "output", index: [1, 1], implementationSum: 7 },
		});
		const { value, config, data, seed, message } = disagreement!;
		const inputs = linearQta8aQga4wQta8o.makeInputs(config, data, seed) as never;
		const { output, sums } = linearQta8aQga4wQta8o.dequantized(config, inputs);
		expect(value!.expected).toBe(output[9]);
		expect(value!.reference!.floatSum).toBe(sums[9]);
		expect(value!.reference!.integerSum).toBeCloseTo(sums[9]!, 3);
		expect(value!.reference!.groups).toHaveLength(1);
		expect(message).toBe(`output[1, 1] is ${value!.actual}, expected ${value!.expected} within ${value!.allowed}`);
	});

	it("is shrunk to the smallest config that shows it", async () => {
		const run: KernelFunction = ({ kernel, config, inputs }) => {
			const mistake = config.depth / config.groupSize > 1 ? "scales in the other order" : undefined;
			return naive(kernel.name, config, inputs, mistake);
		};
		const kernel = { ...linearQ4gsw, published: [] };
		const { disagreement } = await checkLinear(kernel, { run });
		expect(disagreement!.config).toMatchObject({ rows: 1, depth: 4, groupSize: 2, channels: 2 });
	});

	it.each([
		["throws", () => Promise.reject(new Error("no device")), "the implementation failed: no device"],
		["gives another type", () => new Float32Array(16), "'output' is Float32Array, expected Int8Array"],
		["gives too little", () => new Int8Array(3), "'output' has 3 elements, expected 16, [2, 8]"],
		["gives nothing", () => ({}), "the implementation gave no 'output'"],
	] as [string, KernelFunction, string][])("is there where the implementation %s", async (_what, run, message) => {
		const { disagreement } = await checkLinear("linear_qta8a_qga4w_qta8o", { run });
		expect(disagreement).toMatchObject({ message, value: null });
	});

	it("is there where a number is none", async () => {
		const run: KernelFunction = (call) =>
			(right(call) as Float32Array).map((value, index) => (index === 5 ? Number.NaN : value));
		const { disagreement } = await checkLinear("linear_q4gsw", { run });
		expect(disagreement?.message).toMatch(/^output\[0, 5\] is NaN, expected /);
	});
});

describe("rounding", () => {
	const kernels = [linearQta8aQga4wQta8o, linearDq8caQ4gsw, linearLpbq];
	const modes: readonly RoundingMode[] = ["half-away", "half-even"];
	it.each(kernels.flatMap((kernel) => modes.map((mode) => [kernel.name, mode] as const)))(
		"%s is checked as %s",
		async (name, mode) => {
			const rounded =
				(rounding: RoundingMode): KernelFunction =>
				({ kernel, config, inputs }) =>
					naive(kernel.name, { ...config, rounding }, inputs);
			const kernel = { ...kernels.find((each) => each.name === name)!, published: [] };
			expect((await checkLinear(kernel, { run: rounded(mode), rounding: mode })).disagreement).toBeNull();
			const other = modes.find((each) => each !== mode)!;
			expect((await checkLinear(kernel, { run: rounded(other), rounding: mode, random: 300 })).passed).toBe(false);
		},
	);
});

describe("wrong use", () => {
	const config: LinearConfig = {
		rows: 1,
		depth: 8,
		channels: 2,
		groupSize: 4,
		activation: "float32",
		bias: false,
		rounding: "half-away",
	};

	it("is refused", async () => {
		await expect(checkLinear("linear_q5", { run: right })).rejects.toMatchObject({ code: "kernels/unknown" });
		await expect(checkLinear("linear_q4gsw", { run: "kernel {in}" })).rejects.toMatchObject({
			code: "kernels/command",
		});
		const inputs = linearQ4gsw.makeInputs(config, "exact", 0) as never;
		expect(() => linearQ4gsw.dequantized({ ...config, groupSize: 3 }, inputs)).toThrow(
			/depth 8 in groups of 3, expected whole groups/,
		);
		expect(() => linearQ4gsw.dequantized({ ...config, rows: 2 }, inputs)).toThrow(
			/8 elements of 'input' \[2, 8\], expected 16/,
		);
		expect(() => linearQ4gsw.dequantized({ ...config, rows: 0 }, inputs)).toThrow(/0 rows/);
		expect(() => linearQcs4w.dequantized(config, inputs)).toThrow(/groups of 4, expected one of 8/);
	});

	it("of LPBQ with block scales that do not fit eight bits is refused", () => {
		const own: LinearConfig = { ...config, activation: "uint8" };
		const inputs = linearLpbq.makeInputs(own, "typical", 0);
		const block_scales = Uint8Array.of(1, 2, 3, 17);
		expect(() => linearLpbq.integer(own, { ...inputs, block_scales } as never)).toThrow(
			/the block scale 17, expected 1 to 16/,
		);
	});
});

describe("a command", () => {
	it("is an implementation", async () => {
		const check = await checkLinear(
			{ ...linearQcs4w, published: linearQcs4w.published.slice(2) },
			{ run: command(QCS4W), random: 3 },
		);
		expect(check).toMatchObject({ passed: true, published: 1, random: 3 });
	});

	it("is told of group size and rounding, and fails with what it printed", async () => {
		const edit =
			"console.error(array('group_size.npy').header.slice(0, 16), new BigInt64Array(array('group_size.npy').data)[0], new Uint8Array(array('half_even.npy').data)[0]); process.exit(3);";
		const { disagreement } = await checkLinear("linear_q4gsw", { run: command(edit), rounding: "half-even" });
		expect(disagreement?.message).toBe("the implementation failed: exit status 3: {'descr': '<i8', 16n 1");
	});

	it("that writes no file, or cannot be started, fails", async () => {
		const nothing = await checkLinear("linear_q4gsw", { run: command("process.exit(0);") });
		expect(nothing.disagreement?.message).toMatch(/^the implementation failed: cannot read '.*out\.npz'/);
		const missing = await checkLinear("linear_q4gsw", { run: "/no/such/program {in} {out}" });
		expect(missing.disagreement?.message).toMatch(/^the implementation failed: .*ENOENT/);
		const late = kernelCommand(command("setTimeout(() => {}, 1e6); await new Promise(() => {});"), {
			timeoutSeconds: 1,
		});
		const { disagreement } = await checkLinear("linear_q4gsw", { run: late });
		expect(disagreement?.message).toBe("the implementation failed: no answer within 1 s");
	});
});

describe("qgraph kernels", () => {
	it("--list names every kernel with its tensors, as text and as JSON", async () => {
		const { out, code } = await qgraph("<none>", "kernels", "--list");
		expect(code).toBe(0);
		expect(out).toContain("linear_lpbq\n");
		expect(out).toContain("scales_and_zeros: float32 [K/g, N, 2]");
		const json = JSON.parse((await qgraph("<none>", "kernels", "--list", "--json", "--kernel", "linear_q4gsw")).out);
		expect(json).toHaveLength(1);
		expect(json[0]).toMatchObject({
			name: "linear_q4gsw",
			outputs: [{ name: "output", type: "float32", dims: ["M", "N"] }],
		});
	});

	it("--run says where a command is wrong, with exit code 1", async () => {
		const { out, code } = await qgraph("<none>", "kernels", "--run", command(), "--kernel", "linear_q4gsw");
		expect(code).toBe(1);
		expect(out).toMatch(/^linear_q4gsw: output\[0, 0\] is 0, expected -?[\d.]+ within [\d.]+\n/);
		expect(out).toContain("  config 4x64x32 in groups of 16, float32, rounding half-away, typical data of seed 0\n");
		expect(out).toMatch(/sum of the reference: \S+ dequantized, \S+ by integers\n\s+group 0: sum of x\*w/);
	});

	it("wants to know what to do", async () => {
		expect(await qgraph("<none>", "kernels")).toMatchObject({ code: 2 });
		const { err, code } = await qgraph("<none>", "kernels", "--run", "kernel {in} {out}");
		expect(code).toBe(2);
		expect(err).toContain("name one --kernel");
		expect(await qgraph("<none>", "kernels", "--run", "kernel", "--kernel", "linear_q4gsw")).toMatchObject({ code: 2 });
	});
});
