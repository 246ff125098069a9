import type { Attribute } from "./attribute.js";
import { Graph } from "./graph.js";
import { isStandardDomain } from "./node.js";

/** A function that nodes call as an operator; its key is (domain, name, overload). */
export interface FunctionDefinition {
	domain: string;
	name: string;
	overload: string;
	docString: string;
	/** The body; its inputs and outputs are the function's. */
	readonly body: Graph;
	/** Names of attributes without a default. */
	attributeNames: readonly string[];
	/** Attributes with a default. */
	readonly attributeDefaults: Map<string, Attribute>;
	/** Domain -> operator set version. */
	readonly opsetImports: Map<string, number>;
	readonly metadata: Map<string, string>;
}

/** A training step attached to the model; its graphs may read the main graph's values. */
export interface TrainingInfo {
	readonly initialization: Graph | undefined;
	readonly algorithm: Graph | undefined;
	readonly initializationBinding: readonly (readonly [string, string])[];
	readonly updateBinding: readonly (readonly [string, string])[];
}

/** A whole ONNX model. */
export class Model {
	irVersion = 10;
	producerName = "";
	producerVersion = "";
	domain = "";
	modelVersion = 0n;
	docString = "";
	/** Domain -> operator set version. */
	readonly opsetImports: Map<string, number> = new Map();
	readonly graph: Graph;
	readonly functions: FunctionDefinition[] = [];
	readonly trainingInfo: TrainingInfo[] = [];
	/** `metadata_props`. Saved. */
	readonly metadata: Map<string, string> = new Map();

	constructor(graph: Graph = new Graph("main")) {
		this.graph = graph;
	}
}

/** Version of the standard operators that `scope` (a model or a function) imports; undefined where it imports none. */
export function onnxOpset(scope: { readonly opsetImports: ReadonlyMap<string, number> }): number | undefined {
	for (const [domain, version] of scope.opsetImports) if (isStandardDomain(domain)) return version;
	return undefined;
}
