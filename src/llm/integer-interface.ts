import { NameScope } from "../ir/names.js";
import type { Value } from "../ir/value.js";
import type { Pass } from "../passes/infra/pass.js";
import { makeInterfaceInteger } from "../passes/support/integer-interface.js";
import type { Encoding } from "../passes/support/qdq.js";
import { removeCacheMarks } from "./cache-codes.js";

/** Makes those inputs and outputs codes that `isCodes` says, and collects what they stand for. */
export function integerInterface(encodings: Map<string, Encoding>, isCodes: (port: Value) => boolean): Pass {
	return {
		name: "integer-interface",
		options: {},
		async run(model) {
			removeCacheMarks(model);
			const ports = makeInterfaceInteger(model, new NameScope(model), isCodes);
			for (const { name, encoding } of ports) encodings.set(name, encoding);
			return true;
		},
	};
}
