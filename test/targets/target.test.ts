import { describe, expect, it } from "vitest";
import { HTP_ARCHITECTURES, parseTarget, SOCS, targetName } from "../../src/index.js";

describe("parseTarget", () => {
	it("reads back every name", () => {
		for (const name of [...HTP_ARCHITECTURES, ...SOCS.map((soc) => soc.name)]) {
			expect(targetName(parseTarget(`qnn-htp:${name}`))).toBe(`qnn-htp:${name}`);
		}
	});

	it("knows chips by number and in any case", () => {
		expect(parseTarget("qnn-htp:69")).toMatchObject({ architecture: "v79", soc: { name: "SM8750" } });
		expect(parseTarget("qnn-htp:sm8650").architecture).toBe("v75");
	});

	it("names the architecture for chips that it does not know", () => {
		expect(() => parseTarget("qnn-htp:SM7675")).toThrow("or a chip (SM8350, ");
		expect(() => parseTarget("qnn-htp:SM7675")).toThrow("other chips are named by their architecture");
	});

	it.each(["", "qnn-htp", "qnn-htp:v85", "qnn-htp:v79:x", "cpu:v79"])("refuses '%s'", (text) => {
		expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: "target/unknown" }));
	});
});
