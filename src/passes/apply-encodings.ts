import type { DiagnosticCode } from "../diagnostics.js";
import { QGraphError } from "../diagnostics.js";
import { codeTypeName, type Encodings, type TensorEncoding } from "../encodings/encoding.js";
import { type PlacedEncoding, placeEncoding } from "../encodings/placement.js";
import { readEncodings } from "../encodings/read-encodings.js";
import { inferTypes, type TypeTable } from "../inference/index.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import { DataType, dataTypeName, rawByteLength } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { constantAxes } from "./support/constant-axes.js";
import {
	activationEncoding,
	isQuantizedActivation,
	quantizeActivation,
	quantizeMoved,
} from "./support/encoded-activation.js";
import { codesType, isQuantizedConstant, quantizeConstant } from "./support/encoded-constant.js";
import { TensorNames } from "./support/tensor-names.js";
import { upgradeOpset } from "./upgrade-opset.js";

/** The first operator set with 4-bit and 16-bit codes and with blocks. */
const BLOCK_OPSET = 21;

/** So many unknown names get a diagnostic of their own. */
const MAX_NAMED = 20;

export interface ApplyEncodingsOptions {
	readonly encodings: string;
}

/**
 * `W`, `x` -> `DQ(W as codes)`, `DQ(Q(x))`: quantizes the tensors that an encodings file of AIMET or QAIRT names, as it
 * says. Float constants become codes that are made when they are written; activations get a pair, and so does what
 * Reshape, Transpose and their like make of them.
 */
export const applyEncodings = definePass<ApplyEncodingsOptions>({
	name: "apply-encodings",
	summary: "Quantize a float model as an encodings file of AIMET or QAIRT says.",
	options: { encodings: { default: "", describe: "encodings file, version 0.6.1, 1.0.0, 2.0.0 or 2.1.0" } },
	requires(_model, { options: { encodings } }) {
		if (encodings !== "") return;
		throw new QGraphError("pass/unknown-option", "pass 'apply-encodings' needs the option 'encodings', a file");
	},
	async run(model, context) {
		const encodings = readEncodings(context.options.encodings);
		reportUnknownFields(encodings, context);
		const found = assignments(model, encodings, context);
		if (found.length === 0) return false;
		const raised = needsBlockOpset(found) && (onnxOpset(model) ?? BLOCK_OPSET) < BLOCK_OPSET;
		if (raised && !(await upgradeOpset({ to: BLOCK_OPSET }).run(model, context))) return false;
		const names = new NameScope(model);
		const dequantized = found.map((assignment) => apply(model, assignment, names, context));
		const moved = quantizeMoved(model, dequantized, names);
		if (moved > 0) context.count("moved activations quantized", moved);
		return true;
	},
});

/** A tensor and what it is to be quantized with. */
interface Assignment {
	readonly value: Value;
	readonly placed: PlacedEncoding;
	readonly dtype: DataType;
}

/** Everything that is to be done, checked before anything changes. */
function assignments(model: Model, encodings: Encodings, context: PassContext<ApplyEncodingsOptions>): Assignment[] {
	const names = new TensorNames(model);
	const types = inferTypes(model);
	const unknown: string[] = [];
	const found = encodings.entries.flatMap((entry) => {
		const values = names.find(entry.name);
		if (values.length === 0) unknown.push(entry.name);
		return values.flatMap((value) => {
			const assignment = assignmentOf(entry, encodings.version, value, types);
			if ("placed" in assignment) return assignment;
			context.report(assignment.code, `'${value.name}' stays as it is: ${assignment.message}`, { value: value.name });
			return [];
		});
	});
	reportUnknownTensors(unknown, names, context);
	return found;
}

interface Kept {
	readonly code: DiagnosticCode;
	readonly message: string;
}

function assignmentOf(
	entry: TensorEncoding,
	version: Encodings["version"],
	value: Value,
	types: TypeTable,
): Assignment | Kept {
	if (entry.kind === "float") return kept("encodings/float", `its encoding is ${entry.type}, which is not quantized`);
	const constant = constantOf(value);
	const isConstant = constant !== undefined && !constant.overridable;
	if (value.uses.length === 0 && (isConstant || !value.isGraphOutput))
		return kept("encodings/already", "no operator reads it");
	const isQuantized = isConstant ? isQuantizedConstant(value, constant.tensor) : isQuantizedActivation(value);
	if (isQuantized) return kept("encodings/already", "it is quantized already");
	const type = types.typeOf(value);
	const elementType = constant?.tensor.dtype ?? (type?.kind === "tensor" ? type.elementType : DataType.FLOAT);
	if (elementType !== DataType.FLOAT) {
		return kept("encodings/kept", `it is ${dataTypeName(elementType)}, expected FLOAT`);
	}
	const shape = constant?.tensor.shape ?? types.staticShapeOf(value);
	const axes = constant === undefined ? undefined : constantAxes(value, constant.tensor.shape);
	const placed = placeEncoding(entry, version, { shape, axes });
	const dtype = codesType(placed.codes);
	const typeName = codeTypeName(placed.codes);
	if (dtype === undefined) return kept("encodings/kept", `ONNX's quantizers have no ${typeName}`);
	if (placed.kind === "affine" && placed.zeroPoints?.some((zero) => !Number.isInteger(zero))) {
		return kept("encodings/kept", "its zero points are not whole numbers");
	}
	if (isConstant) {
		const { dtype: stored, data } = constant.tensor;
		const wanted = rawByteLength(stored, constant.tensor.shape);
		if (data.byteLength === wanted) return { value, placed, dtype };
		return kept("weight/data-length", `it has ${data.byteLength} bytes, expected ${wanted}`);
	}
	if (placed.shape.length > 0) return kept("encodings/kept", "it is no constant and has several scales, expected one");
	if (placed.codes.bits !== 8 && placed.codes.bits !== 16) {
		return kept("encodings/kept", `it is no constant and has codes of type ${typeName}, expected 8 or 16 bits`);
	}
	return { value, placed, dtype };
}

function kept(code: DiagnosticCode, message: string): Kept {
	return { code, message };
}

function needsBlockOpset(found: readonly Assignment[]): boolean {
	return found.some(({ placed: { codes, blockSize } }) => blockSize > 0 || codes.bits === 4 || codes.bits === 16);
}

function apply(
	model: Model,
	{ value, placed, dtype }: Assignment,
	names: NameScope,
	context: PassContext<ApplyEncodingsOptions>,
): Node {
	const constant = constantOf(value);
	if (constant !== undefined && !constant.overridable) {
		context.count(`${placed.kind === "lpbq" ? "lpbq" : schemeOf(placed)} constants`);
		return quantizeConstant(value, constant.tensor, placed, dtype, names);
	}
	context.count("activations");
	if (placed.kind !== "affine") throw new Error("an activation has one scale");
	return quantizeActivation(model, value, activationEncoding(placed, dtype), names);
}

function schemeOf({ shape, blockSize }: PlacedEncoding): string {
	if (blockSize > 0) return "block";
	return shape.length === 0 ? "per-tensor" : "per-channel";
}

function reportUnknownFields({ unknownFields }: Encodings, context: PassContext<ApplyEncodingsOptions>): void {
	for (const [field, count] of unknownFields) {
		const message = `field '${field}' of ${count} encodings has no meaning that is known; it was not used`;
		context.report("encodings/unknown-field", message, { file: context.options.encodings });
	}
}

function reportUnknownTensors(
	unknown: readonly string[],
	names: TensorNames,
	context: PassContext<ApplyEncodingsOptions>,
): void {
	for (const name of unknown.slice(0, MAX_NAMED)) {
		const nearest = names.nearest(name);
		const hint = nearest === undefined ? "" : `; the model has '${nearest}'`;
		context.report("encodings/unknown-tensor", `there is an encoding of '${name}' but no such tensor${hint}`, {
			value: name,
		});
	}
	if (unknown.length <= MAX_NAMED) return;
	const rest = unknown.slice(MAX_NAMED);
	const message = `there are ${rest.length} more encodings of tensors that the model does not have`;
	context.report("encodings/unknown-tensor", message, { file: context.options.encodings }, rest);
}
