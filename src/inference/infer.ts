import type { Attribute } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { FunctionDefinition, Model } from "../ir/model.js";
import { isStandardDomain, type Node, type OpId } from "../ir/node.js";
import { nodesInOrder } from "../ir/order.js";
import type { Value } from "../ir/value.js";
import { MAX_ELEMENTS } from "./constant.js";
import { inferControlFlow } from "./control-flow.js";
import { isStatic } from "./dimension.js";
import { evaluatorOf } from "./evaluate/index.js";
import { commonFact, elementTypeOf, type Fact, NOTHING, refineType, shapeOfType } from "./fact.js";
import { fingerprint } from "./fingerprint.js";
import { OperatorCall } from "./operator-call.js";
import { ruleOf } from "./rules/index.js";
import { initialFact, sanitized, statedType } from "./stated.js";

/** Functions that call functions are followed to this depth. */
const MAX_CALL_DEPTH = 32;

/** Functions whose calls all differ may unfold to any number of nodes; beyond this many, nothing is said of functions. */
const MAX_CALLED_NODES = 200_000;

/** A newer operator set than any is assumed where a model does not say which it uses. */
const NEWEST = Number.MAX_SAFE_INTEGER;

/** What a graph is looked at with: the main graph, or a function's body for one call. */
interface Scope {
	readonly opsets: ReadonlyMap<string, number>;
	readonly facts: Map<Value, Fact>;
	/** Inputs that the caller left out. */
	readonly absent: ReadonlySet<Value>;
	/** What references in a function's body stand for; undefined outside functions. */
	readonly attributes: ReadonlyMap<string, Attribute> | undefined;
	readonly callDepth: number;
	/** How many bodies of control flow the graph lies in. */
	readonly loopDepth: number;
}

/** Goes through the graphs of a model and collects facts about their values. */
export class Inference {
	/** What was found out; of values in function bodies, what holds in every call. */
	readonly facts: Map<Value, Fact> = new Map();
	readonly #factsInFunctions: Map<Value, Fact> = new Map();
	#calledNodes = 0;
	readonly #model: Model;
	readonly #functions: Map<string, FunctionDefinition>;
	readonly #called: Set<FunctionDefinition> = new Set();
	readonly #calls: Map<string, readonly Fact[]> = new Map();
	readonly #orders: Map<Graph, readonly Node[]> = new Map();

	constructor(model: Model) {
		this.#model = model;
		this.#functions = new Map(
			model.functions.map((definition) => [
				functionKeyOf(definition.domain, definition.name, definition.overload),
				definition,
			]),
		);
	}

	run(): void {
		const scope: Scope = {
			opsets: this.#model.opsetImports,
			facts: this.facts,
			absent: new Set(),
			attributes: undefined,
			callDepth: 0,
			loopDepth: 0,
		};
		const { graph, trainingInfo } = this.#model;
		const training = trainingInfo.flatMap(({ initialization, algorithm }) => [initialization, algorithm]);
		for (const each of [graph, ...training]) if (each !== undefined) this.#inferGraph(each, scope);
		for (const definition of this.#model.functions) {
			if (!this.#called.has(definition)) this.#runFunction(definition, [], new Map(definition.attributeDefaults), 1);
		}
		if (this.#calledNodes > MAX_CALLED_NODES) return;
		for (const [value, fact] of this.#factsInFunctions) this.facts.set(value, fact);
	}

	#inferGraph(graph: Graph, scope: Scope): void {
		let order = this.#orders.get(graph);
		if (order === undefined) {
			order = nodesInOrder(graph);
			this.#orders.set(graph, order);
		}
		for (const node of order) {
			const call = this.#callOf(node, scope);
			const results = this.#infer(call, scope);
			for (const [index, value] of node.outputs.entries()) {
				const fact = results[index] ?? NOTHING;
				const type = refineType(sanitized(fact.type), statedType(value));
				scope.facts.set(value, fact.elements === undefined ? { type } : { type, elements: fact.elements });
			}
		}
	}

	#callOf(node: Node, scope: Scope): OperatorCall {
		const inputs = node.inputs.map((value) =>
			value === undefined || scope.absent.has(value) ? undefined : this.#factOf(value, scope),
		);
		return new OperatorCall(node, versionOf(node.op, scope.opsets), inputs, (name) =>
			resolve(node.attributes.get(name), scope),
		);
	}

	#factOf(value: Value, scope: Scope): Fact {
		let fact = scope.facts.get(value);
		if (fact === undefined) {
			fact = initialFact(value, this.#model);
			scope.facts.set(value, fact);
		}
		return fact;
	}

	#infer(call: OperatorCall, scope: Scope): readonly Fact[] {
		const { node } = call;
		const definition = this.#functions.get(functionKeyOf(node.op.domain, node.op.type, node.op.overload));
		if (definition !== undefined) return this.#callFunction(definition, call, scope);
		const inner = { ...scope, loopDepth: scope.loopDepth + 1 };
		const controlFlow = inferControlFlow(call, (body, inputs) => this.#runBody(body, inputs, inner), scope.loopDepth);
		if (controlFlow !== undefined) return controlFlow;
		const [first, ...others] = ruleOf(node.op)?.(call) ?? [];
		if (first === undefined) return [];
		const result = { ...first, type: sanitized(first.type) };
		return [{ type: result.type, elements: evaluate(call, result) }, ...others];
	}

	#runBody(body: Graph, inputs: readonly Fact[], scope: Scope): readonly Fact[] {
		this.#bind(body, inputs, scope);
		this.#inferGraph(body, scope);
		return body.outputs.map((value) => this.#factOf(value, scope));
	}

	#bind(body: Graph, inputs: readonly Fact[], scope: Scope): void {
		for (const [index, value] of body.inputs.entries()) {
			const fact = inputs[index] ?? NOTHING;
			scope.facts.set(value, { ...fact, type: refineType(fact.type, statedType(value)) });
		}
	}

	#callFunction(definition: FunctionDefinition, call: OperatorCall, scope: Scope): readonly Fact[] {
		if (scope.callDepth >= MAX_CALL_DEPTH) return [];
		const inputs = definition.body.inputs.map((_, index) => (call.has(index) ? call.fact(index) : undefined));
		const attributes = new Map(definition.attributeDefaults);
		for (const name of call.node.attributes.keys()) {
			const attribute = call.attribute(name);
			if (attribute !== undefined) attributes.set(name, attribute);
		}
		const key = fingerprint(definition, inputs, attributes);
		let results = this.#calls.get(key);
		if (results === undefined) {
			results = this.#runFunction(definition, inputs, attributes, scope.callDepth + 1);
			this.#calls.set(key, results);
		}
		return results;
	}

	#runFunction(
		definition: FunctionDefinition,
		inputs: readonly (Fact | undefined)[],
		attributes: ReadonlyMap<string, Attribute>,
		callDepth: number,
	): readonly Fact[] {
		const { body } = definition;
		this.#called.add(definition);
		this.#calledNodes += body.nodes.length;
		if (this.#calledNodes > MAX_CALLED_NODES) return [];
		const isCalled = inputs.length > 0;
		const absent = new Set(isCalled ? body.inputs.filter((_, index) => inputs[index] === undefined) : []);
		const facts = new Map<Value, Fact>();
		const scope = { opsets: definition.opsetImports, facts, absent, attributes, callDepth, loopDepth: 0 };
		const results = this.#runBody(
			body,
			inputs.map((fact) => fact ?? NOTHING),
			scope,
		);
		for (const [value, fact] of facts) {
			const before = this.#factsInFunctions.get(value);
			this.#factsInFunctions.set(value, before === undefined ? fact : commonFact(before, fact));
		}
		return results;
	}
}

function functionKeyOf(domain: string, name: string, overload: string): string {
	return `${isStandardDomain(domain) ? "" : domain}\0${name}\0${overload}`;
}

function versionOf({ domain }: OpId, opsets: ReadonlyMap<string, number>): number {
	if (!isStandardDomain(domain)) return opsets.get(domain) ?? NEWEST;
	return opsets.get("") ?? opsets.get("ai.onnx") ?? NEWEST;
}

function resolve(attribute: Attribute | undefined, { attributes }: Scope): Attribute | undefined {
	return attribute?.kind === "reference" ? attributes?.get(attribute.to) : attribute;
}

/** The contents of output 0, where they follow from small inputs. */
function evaluate(call: OperatorCall, result: Fact): Fact["elements"] {
	if (result.elements !== undefined) return result.elements;
	const evaluator = evaluatorOf(call.node.op);
	if (evaluator === undefined) return undefined;
	const shape = shapeOfType(result.type);
	const elementType = elementTypeOf(result.type);
	if (elementType === undefined || !isStatic(shape)) return undefined;
	const count = shape.reduce((product, length) => product * length, 1);
	if (count > MAX_ELEMENTS) return undefined;
	if (count === 0) return [];
	const elements = evaluator(call, { shape, elementType });
	return elements?.length === count && elements.some((element) => element !== undefined) ? elements : undefined;
}
