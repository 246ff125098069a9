/** ONNX files: the entry points of this folder. */
export type { ExternalDataPolicy } from "./placement.js";
export { missingDataFiles, parseModel, readModel } from "./read-model.js";
export {
	type ModelSkeleton,
	serializedSize,
	serializeModel,
	serializeSkeleton,
	type WriteOptions,
	writeModel,
} from "./write-model.js";
