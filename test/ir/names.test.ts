import { describe, expect, it } from "vitest";
import { NameScope } from "../../src/ir/names.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { modelOf } from "../support/build.js";

const model = () =>
	modelOf((b) => {
		b.input("x");
		b.initializer("w", floatTensor([1], [2]));
		const then_branch = b.subgraph("then", (t) => {
			t.initializer("inner_w", floatTensor([1], [3]));
			t.node("Add", ["x", "inner_w"], ["inner"], {}, "inner_add");
			t.output("inner");
		});
		b.node("If", ["x"], ["y", ""], { then_branch }, "if");
		b.output("y");
		b.function("local", "F", (f) => {
			f.input("fx");
			f.node("Relu", ["fx"], ["fy"]);
			f.output("fy");
		});
	});

describe("NameScope", () => {
	it("keeps a free name", () => {
		expect(new NameScope(model()).fresh("new")).toBe("new");
	});

	it.each(["x", "w", "y", "if", "inner", "inner_w", "inner_add", "fx", "fy"])("knows that '%s' is taken", (name) => {
		expect(new NameScope(model()).fresh(name)).toBe(`${name}_1`);
	});

	it("gives no name twice and steps over numbered names that exist", () => {
		const scope = new NameScope(model());
		expect(["x_2", "x", "x", "x"].map((name) => scope.fresh(name))).toEqual(["x_2", "x_1", "x_3", "x_4"]);
	});

	it("knows the names of value infos that nothing defines", () => {
		const base = model();
		base.graph.valueInfo.add(base.graph.createValue("stale"));
		expect(new NameScope(base).fresh("stale")).toBe("stale_1");
	});
});
