import { intAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { mixedSource } from "../support/random.js";
import { type Flow, normals } from "./random-writer.js";
import { WideWriter } from "./wide-writer.js";

const { FLOAT } = DataType;

const OTHERS = [
	...["tile", "expand", "sum up", "sorted", "compared", "compared", "elements", "places", "scattered", "largest"],
	...["reduced", "einsum", "stepped", "padded", "appended", "triangle", "by element", "by element"],
] as const;

/** Operators that networks have seldom, on values of any shape; what comes out has the shape of what goes in. */
export abstract class OperatorWriter extends WideWriter {
	protected override common(kind: string, from: Flow, channelAxis: number): Flow | undefined {
		return kind === "other" ? this.#other(from) : super.common(kind, from, channelAxis);
	}

	#integers(...values: number[]): string {
		return this.constant(int64Tensor([values.length], values));
	}

	#floats(shape: readonly number[]): string {
		return this.constant(floatTensor(shape, normals(elementCount(shape), mixedSource(++this.seed))));
	}

	/** Along this axis the first elements of what was made longer. */
	#cut(flow: Flow, axis: number, length: number): Flow {
		return this.slice(flow, axis, this.pick([0, flow.shape[axis]! - length]), length);
	}

	#other(from: Flow): Flow {
		const { name, shape } = from;
		const kind = this.pick(OTHERS);
		this.words.push(kind);
		const axis = this.pick(shape.map((_, index) => index));
		const length = shape[axis]!;
		const result = (made: string, to: readonly number[] = shape) => this.encode({ name: made, shape: to });
		const longer = shape.with(axis, 2 * length);
		switch (kind) {
			case "tile": {
				const repeats = this.#integers(...shape.map((_, at) => (at === axis ? 2 : 1)));
				return this.#cut(result(this.node("Tile", [name, repeats]), longer), axis, length);
			}
			case "expand": {
				const first = this.slice(from, axis, 0, 1);
				return result(this.node("Expand", [first.name, this.#integers(...shape)]));
			}
			case "sum up":
				return result(this.node("CumSum", [name, this.constant(int64Tensor([], [axis]))]));
			case "sorted": {
				const [values, places] = [this.fresh("values"), this.fresh("places")];
				const attributes = { axis: intAttribute(axis), largest: intAttribute(this.pick([0, 1])) };
				this.b.node("TopK", [name, this.#integers(length)], [values, places], attributes, values);
				return result(values);
			}
			case "compared": {
				const other = this.#floats(this.pick<readonly number[]>([[1], shape.slice(-1), shape]));
				const op = this.pick(["Greater", "Less", "GreaterOrEqual", "LessOrEqual"]);
				const condition = this.node(op, [name, other]);
				if (this.chance(0.3)) return result(this.node("Cast", [condition], { to: intAttribute(FLOAT) }));
				const turned = this.chance(0.3) ? this.node("Not", [condition]) : condition;
				return result(this.node("Where", [turned, name, this.chance(0.5) ? other : this.#floats([1])]));
			}
			case "elements": {
				const places = Array.from({ length: elementCount(shape) }, () => Math.floor(this.random() * length));
				const indices = this.constant(int64Tensor(shape, places));
				return result(this.node("GatherElements", [name, indices], { axis: intAttribute(axis) }));
			}
			case "places": {
				const places = Array.from({ length: shape[0]! }, (_, at) => shape[0]! - 1 - at);
				return result(this.node("GatherND", [name, this.constant(int64Tensor([shape[0]!, 1], places))]));
			}
			case "scattered": {
				const lead = shape.slice(0, -1).map((side) => Math.floor(this.random() * side));
				const index = this.constant(int64Tensor([1, lead.length], lead));
				return result(this.node("ScatterND", [name, index, this.#floats([1, shape.at(-1)!])]));
			}
			case "largest": {
				const op = this.pick(["ArgMax", "ArgMin"]);
				const at = this.node(op, [name], { axis: intAttribute(axis), keepdims: intAttribute(1) });
				const floats = result(this.node("Cast", [at], { to: intAttribute(FLOAT) }), shape.with(axis, 1));
				return result(this.node("Add", [name, floats.name]));
			}
			case "reduced": {
				const op = this.pick(["ReduceL1", "ReduceSumSquare", "ReduceLogSumExp", "ReduceMean", "ReduceMax"]);
				const hasTwo = shape.length > 1 && this.chance(0.5);
				const axes = hasTwo ? [axis, (axis + 1) % shape.length] : [axis];
				this.words.push(`${op}${axes}`);
				const small = shape.map((side, at) => (axes.includes(at) ? 1 : side));
				const reduced = result(this.node(op, [name, this.#integers(...axes)]), small);
				return result(this.node(this.pick(["Add", "Sub"]), [name, reduced.name]));
			}
			case "einsum": {
				const depth = shape.at(-1)!;
				const values = normals(depth * depth, mixedSource(++this.seed)).map((value) => value / Math.sqrt(depth));
				const matrix = this.constant(floatTensor([depth, depth], values));
				const letters = "abcdefg".slice(0, shape.length - 1);
				const equation = this.pick([`${letters}x,xy->${letters}y`, `${letters}x,yx->${letters}y`]);
				return result(this.node("Einsum", [name, matrix], { equation: stringAttribute(equation) }));
			}
			case "stepped": {
				const ends = [this.#integers(-1), this.#integers(Number.MIN_SAFE_INTEGER)];
				return result(this.node("Slice", [name, ...ends, this.#integers(axis), this.#integers(-1)]));
			}
			case "padded": {
				const [before, behind] = [this.pick([0, 0, 1, 2]), this.pick([0, 1, 6])];
				const amounts = [before, behind].flatMap((amount) => shape.map((_, at) => (at === axis ? amount : 0)));
				const value = this.chance(0.3) ? [this.constant(floatTensor([], [this.pick([1, -1, 0])]))] : [];
				const to = shape.with(axis, length + before + behind);
				return this.#cut(result(this.node("Pad", [name, this.#integers(...amounts), ...value]), to), axis, length);
			}
			case "appended": {
				const count = this.pick([1, 4]);
				const equal = this.constant(
					floatTensor(shape.with(axis, count), new Float32Array(elementCount(shape.with(axis, count)))),
				);
				const other = this.chance(0.5) ? equal : this.#floats(shape.with(axis, count));
				const parts = this.chance(0.5) ? [name, other] : [other, name];
				const joined = this.node("Concat", parts, { axis: intAttribute(axis) });
				return this.#cut(result(joined, shape.with(axis, length + count)), axis, length);
			}
			case "triangle":
				if (shape.length < 2) return from;
				return result(this.node("Trilu", [name], { upper: intAttribute(this.pick([0, 1])) }));
			default: {
				const op = this.pick(["Sign", "Cos", "Atan", "Ceil", "Celu", "Softsign"]);
				this.words.push(op);
				return result(this.node(op, [name]));
			}
		}
	}
}
