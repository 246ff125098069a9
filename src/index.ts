export { type Budget, parseBudget } from "./analysis/budget.js";
export {
	type ParetoPoint,
	type PlannedUnit,
	type PlanOptions,
	type PrecisionPlan,
	planPrecision,
} from "./analysis/plan-precision.js";
export { renderAnalysisReport } from "./analysis-report/render-analysis-report.js";
export { type CalibrateOptions, calibrate } from "./calibration/calibrate.js";
export type { Calibration, CalibrationSample, SampleSource, ValueStatistics } from "./calibration/calibration.js";
export {
	type CalibrationEncodingsOptions,
	calibratedGrid,
	calibratedInterval,
	calibrationEncodings,
	needsHistograms,
	OBSERVERS,
	type ObserverName,
	type RangeOptions,
} from "./calibration/calibration-encodings.js";
export type { ImageOptions } from "./calibration/sources/image-source.js";
export { openSamples, type SampleSourceOptions } from "./calibration/sources/open-samples.js";
export { randomSource } from "./calibration/sources/random-source.js";
export { writeImportance } from "./calibration/write-importance.js";
export {
	CODES,
	type Diagnostic,
	type DiagnosticCode,
	type Location,
	QGraphError,
	type Severity,
} from "./diagnostics.js";
export type {
	AffineEncoding,
	CodeType,
	Encodings,
	EncodingsVersion,
	FloatEncoding,
	LpbqEncoding,
	TensorEncoding,
} from "./encodings/encoding.js";
export type { JsonValue, NumberArray } from "./encodings/json-reader.js";
export { parseEncodings, readEncodings } from "./encodings/read-encodings.js";
export { encodingsText, writeEncodings } from "./encodings/write-encodings.js";
export { inferTypes, type TypeTable } from "./inference/index.js";
export {
	type Attribute,
	type AttributeKind,
	floatAttribute,
	intAttribute,
	intOf,
	intsAttribute,
	stringAttribute,
	stringOf,
	subgraphsOf,
	tensorAttribute,
} from "./ir/attribute.js";
export { bytesData, computedData, readAll, type TensorData } from "./ir/data.js";
export { Graph, type NodeSpec } from "./ir/graph.js";
export { toDot, toGraphlib } from "./ir/graphlib.js";
export { type FunctionDefinition, Model, onnxOpset, type TrainingInfo } from "./ir/model.js";
export { NameScope } from "./ir/names.js";
export { isOnnxOp, type Node, type OpId } from "./ir/node.js";
export { sortModel, sortNodes } from "./ir/order.js";
export { type PrintOptions, printModel } from "./ir/print.js";
export { floatTensor, int64Tensor, type SparseTensor, type Tensor, tensor } from "./ir/tensor.js";
export {
	bitsPerElement,
	DataType,
	type Dimension,
	dataTypeName,
	elementCount,
	rawByteLength,
	tensorType,
	type ValueType,
} from "./ir/types.js";
export type { Use, Value } from "./ir/value.js";
export { verifyModel } from "./ir/verify.js";
export { allGraphs, allNodes, type GraphSite, nodeLabel } from "./ir/walk.js";
export { type LanguageModel, type LanguageModelOptions, openLanguageModel } from "./language/language-model.js";
export {
	type Perplexity,
	type PerplexityComparison,
	type PerplexityOptions,
	perplexity,
	type ScoreOptions,
	scoreTokens,
} from "./language/perplexity.js";
export { readTokens, type TokenOptions, type TokenSequences } from "./language/tokens.js";
export { CACHE_TYPES, type CacheType } from "./llm/cache-codes.js";
export type { CompiledContext, ContextKind } from "./llm/compile-graphs.js";
export { type ConvertLlmOptions, convertLlm, type LlmConversion } from "./llm/convert-llm.js";
export type { LlmJudgement } from "./llm/judge-quantized.js";
export type { CacheLayout, HeadPlace, LlmSettings } from "./llm/llm-job.js";
export type { GraphRole, PipelineGraph } from "./llm/pipeline-graph.js";
export type { StageTime } from "./llm/provenance.js";
export type { LlmQuantization, LlmQuantizeOptions } from "./llm/quantize-graphs.js";
export type { LlmVerification, PromptVerification, TokenDifference } from "./llm/verify-llm.js";
export {
	missingDataFiles,
	parseModel,
	readModel,
	serializeModel,
	type WriteOptions,
	writeModel,
} from "./onnx/file.js";
export type { ExternalDataPolicy } from "./onnx/placement.js";
export { annotateBlockQuant } from "./passes/annotate-block-quant.js";
export { type ApplyEncodingsOptions, applyEncodings } from "./passes/apply-encodings.js";
export { type ApplyPrecisionRecipeOptions, applyPrecisionRecipe } from "./passes/apply-precision-recipe.js";
export { type BqToLpbqOptions, bqToLpbq } from "./passes/bq-to-lpbq.js";
export { computeConstants } from "./passes/compute-constants.js";
export { type FixInputsOptions, fixInputs } from "./passes/fix-inputs.js";
export { type FixShapesOptions, fixShapes } from "./passes/fix-shapes.js";
export { foldAffine } from "./passes/fold-affine.js";
export { foldConstants } from "./passes/fold-constants.js";
export { foldIf } from "./passes/fold-if.js";
export { foldShapes } from "./passes/fold-shapes.js";
export { foldWeightTranspose } from "./passes/fold-weight-transpose.js";
export { type FuseGeluOptions, fuseGelu } from "./passes/fuse-gelu.js";
export { type FuseHardSwishOptions, fuseHardSwish } from "./passes/fuse-hard-swish.js";
export { type FuseLayerNormOptions, fuseLayerNorm } from "./passes/fuse-layer-norm.js";
export { type FuseReduceL2Options, fuseReduceL2 } from "./passes/fuse-reduce-l2.js";
export { type FuseRmsNormOptions, fuseRmsNorm } from "./passes/fuse-rms-norm.js";
export { type FuseSigmoidOptions, fuseSigmoid } from "./passes/fuse-sigmoid.js";
export { allPasses, legalizingPasses, normalizingPasses, quantizingPasses, recipePasses } from "./passes/index.js";
export {
	type AnyPassFactory,
	definePass,
	type OptionSpec,
	type OptionValue,
	type Pass,
	type PassContext,
	type PassDefinition,
	type PassFactory,
	type WeightObserver,
} from "./passes/infra/pass.js";
export { PipelineError, type PipelineOptions } from "./passes/infra/pipeline.js";
export type { PassRecord, PipelineReport, WeightEntry } from "./passes/infra/report.js";
export { type InsertActivationQdqOptions, insertActivationQdq } from "./passes/insert-activation-qdq.js";
export { legalizeActivations } from "./passes/legalize-activations.js";
export { legalizeBias } from "./passes/legalize-bias.js";
export { legalizeOperators } from "./passes/legalize-operators.js";
export { legalizeSilu } from "./passes/legalize-silu.js";
export { type LegalizeWeightsOptions, legalizeWeights } from "./passes/legalize-weights.js";
export { lowerContribQdq } from "./passes/lower-contrib-qdq.js";
export { lowerDynamicQuantization } from "./passes/lower-dynamic-quantization.js";
export { lowerFourier } from "./passes/lower-fourier.js";
export {
	type LowerGatherBlockQuantizedOptions,
	lowerGatherBlockQuantized,
} from "./passes/lower-gather-block-quantized.js";
export { type LowerGemmOptions, lowerGemm } from "./passes/lower-gemm.js";
export { lowerGroupQueryAttention } from "./passes/lower-group-query-attention.js";
export { lowerIf } from "./passes/lower-if.js";
export { type LowerMatmulNbitsOptions, lowerMatmulNbits } from "./passes/lower-matmul-nbits.js";
export { lowerRotaryEmbedding } from "./passes/lower-rotary-embedding.js";
export { lowerSkipLayerNorm } from "./passes/lower-skip-layer-norm.js";
export { type LpbqToBqOptions, lpbqToBq } from "./passes/lpbq-to-bq.js";
export { narrowDoubles } from "./passes/narrow-doubles.js";
export { type NormalizeWeightsOptions, normalizeWeights } from "./passes/normalize-weights.js";
export { removeQdq } from "./passes/remove-qdq.js";
export { saveAnnotations } from "./passes/save-annotations.js";
export { separateMatmulOutputs } from "./passes/separate-matmul-outputs.js";
export { splitBlockScales } from "./passes/split-block-scales.js";
export { type SplitGraphOptions, splitGraph } from "./passes/split-graph.js";
export { type WeightAnnotation, weightAnnotation } from "./passes/support/annotation.js";
export { type UpgradeOpsetOptions, upgradeOpset } from "./passes/upgrade-opset.js";
export { collectStatisticsOf, type FileStatistics, type FileStatisticsOptions } from "./quantize/collect-for-file.js";
export type { Gain, OutputGain } from "./quantize/gains.js";
export type { OperatorPrecision } from "./quantize/operator-precisions.js";
export type { Quantization, QuantizeOptions } from "./quantize/quantization.js";
export { quantizeModel } from "./quantize/quantize-model.js";
export type { StatisticsFiles, StatisticsOptions } from "./quantize/statistics.js";
export { BUILT_IN_RECIPES } from "./recipe/built-in.js";
export type { Decision, Decisions } from "./recipe/decide.js";
export { readExecutorchRecipe, writeExecutorchRecipe } from "./recipe/executorch.js";
export { type Explanation, explainRecipe } from "./recipe/explain.js";
export { findRecipe } from "./recipe/find-recipe.js";
export { parseRecipe } from "./recipe/parse-recipe.js";
export type { BlockScales, BlockSize, Granularity, Precision } from "./recipe/precision.js";
export type { Match, Recipe, Rule as RecipeRule, Setting } from "./recipe/recipe.js";
export type { Role } from "./recipe/role.js";
export type { RuleFault } from "./recipe/rule-faults.js";
export type { Unit } from "./recipe/unit.js";
export { writeRecipe } from "./recipe/write-recipe.js";
export { diffModels, type ModelDiff } from "./report/diff.js";
export { type ExportEncodingsOptions, type ExportedEncodings, exportEncodings } from "./report/export-encodings.js";
export { type ModelSummary, summarizeModel, summarizeWeights, type WeightSummary } from "./report/summary.js";
export { runPasses } from "./run-passes.js";
export { type CompileOptions, compileForHtp, type HtpCompilation } from "./runtime/compile-for-htp.js";
export { type HtpEnvironment, type HtpSetupOptions, htpHome, setupHtp } from "./runtime/htp-environment.js";
export type { DimensionLengths } from "./runtime/model-inputs.js";
export { ownVersion } from "./runtime/own-version.js";
export type { SampleOptions } from "./runtime/samples.js";
export type { SessionFailure, UnsupportedNode } from "./runtime/session.js";
export type {
	InnerComparison,
	RunFailure,
	ValueComparison,
	Verification,
	VerifyOptions,
} from "./runtime/verification.js";
export { verifyModels } from "./runtime/verify-models.js";
export type {
	Analysis,
	AnalysisMode,
	AnalysisSettings,
	AnalyzedModel,
	AnalyzedUnit,
	CandidateName,
	CodeHistogram,
	Histogram,
	ParetoEntry,
	PerplexityEntry,
	SqnrGroup,
	SuggestedRecipe,
	UnitCandidate,
	UnitKind,
	UnitSuggestion,
} from "./sensitivity/analysis.js";
export { NO_NOISE_DB } from "./sensitivity/analysis.js";
export type { AnalyzeOptions, SensitivityAnalysis } from "./sensitivity/analyze-options.js";
export { analyzeSensitivity } from "./sensitivity/analyze-sensitivity.js";
export type { TokenData } from "./sensitivity/recipe-perplexity.js";
export { type RecipeModel, scorePerplexity } from "./sensitivity/score-perplexity.js";
export { HTP_CAPABILITIES, type HtpCapabilities } from "./targets/capabilities.js";
export { checkModel, type Finding } from "./targets/check-model.js";
export { refusalOf } from "./targets/guard.js";
export { OPERATOR_TABLE, type OperatorOutcome, type TriedForm } from "./targets/operator-table.js";
export { type ProviderOptions, providerOptions } from "./targets/provider-options.js";
export type { Consequence, Rule, RuleContext, RuleGroup } from "./targets/rule.js";
export { HTP_RULES } from "./targets/rules/index.js";
export {
	HTP_ARCHITECTURES,
	type HtpArchitecture,
	parseTarget,
	SOCS,
	type Soc,
	type Target,
	targetName,
} from "./targets/target.js";
