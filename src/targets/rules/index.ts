import type { RuleGroup } from "../rule.js";
import { ACTIVATION_RULES } from "./activations.js";
import { ANOMALY_RULES } from "./anomalies.js";
import { BATCHED_PRODUCT_RULES } from "./batched-products.js";
import { BIAS_RULES } from "./bias.js";
import { BLOCK_RULES } from "./block.js";
import { CAST_RULES } from "./casts.js";
import { CHANNEL_RULES } from "./channel.js";
import { CODE_RULES } from "./codes.js";
import { COMPUTED_PRODUCT_RULES } from "./computed-products.js";
import { CONV_RULES } from "./conv.js";
import { CUT_RESULT_RULES } from "./cut-results.js";
import { DEPTHWISE_RULES } from "./depthwise.js";
import { ELEMENT_TYPE_RULES } from "./element-type.js";
import { EMBEDDING_RULES } from "./embedding.js";
import { FILL_RULES } from "./fills.js";
import { FLOAT_ISLAND_RULES } from "./float-islands.js";
import { FORM_RULES } from "./forms.js";
import { FUSED_RULES } from "./fused.js";
import { GEMM_RULES } from "./gemm.js";
import { IMAGE_SIZE_RULES } from "./image-sizes.js";
import { LPBQ_RULES } from "./lpbq.js";
import { MODE_RULES } from "./modes.js";
import { MOVED_CODE_RULES } from "./moved-codes.js";
import { NARROW_RESULT_RULES } from "./narrow-results.js";
import { NEGATIVE_ZERO_RULES } from "./negative-zeros.js";
import { OLD_FORM_RULES } from "./old-forms.js";
import { OPERATOR_RULES } from "./operators.js";
import { PADDED_CONV_RULES } from "./padded-convs.js";
import { PARAMETER_RULES } from "./parameters.js";
import { POOL_COLUMN_RULES } from "./pool-columns.js";
import { POOL_RULES } from "./pools.js";
import { RANGE_RULES } from "./ranges.js";
import { RESHAPED_PRODUCT_RULES } from "./reshaped-products.js";
import { RESULT_RULES } from "./results.js";
import { SAMPLING_RULES } from "./sampling.js";
import { SATURATION_RULES } from "./saturation.js";
import { SCALE_RULES } from "./scales.js";
import { SHAPE_RULES } from "./shapes.js";
import { SIGNED_VOLUME_RULES } from "./signed-volumes.js";
import { SMALL_VALUE_RULES } from "./small-values.js";
import { SOFTMAX_RULES } from "./softmax.js";
import { STEPPED_CONV_RULES } from "./stepped-convs.js";
import { STORED_RULES } from "./stored.js";
import { TURNED_NORM_RULES } from "./turned-norms.js";
import { TURNED_VIEW_RULES } from "./turned-views.js";
import { UNCOMPILED_RULES } from "./uncompiled.js";
import { VECTOR_LENGTH_RULES } from "./vector-lengths.js";
import { WIDE_VALUE_RULES } from "./wide-values.js";

/** Every rule there is, by subject. */
export const HTP_RULES: readonly RuleGroup[] = [
	LPBQ_RULES,
	GEMM_RULES,
	BLOCK_RULES,
	CHANNEL_RULES,
	CONV_RULES,
	STEPPED_CONV_RULES,
	PADDED_CONV_RULES,
	DEPTHWISE_RULES,
	BIAS_RULES,
	RESULT_RULES,
	SCALE_RULES,
	SATURATION_RULES,
	CODE_RULES,
	MOVED_CODE_RULES,
	ACTIVATION_RULES,
	SOFTMAX_RULES,
	COMPUTED_PRODUCT_RULES,
	FLOAT_ISLAND_RULES,
	VECTOR_LENGTH_RULES,
	RANGE_RULES,
	SMALL_VALUE_RULES,
	CUT_RESULT_RULES,
	WIDE_VALUE_RULES,
	NARROW_RESULT_RULES,
	NEGATIVE_ZERO_RULES,
	SHAPE_RULES,
	STORED_RULES,
	EMBEDDING_RULES,
	OPERATOR_RULES,
	PARAMETER_RULES,
	MODE_RULES,
	OLD_FORM_RULES,
	SAMPLING_RULES,
	FORM_RULES,
	BATCHED_PRODUCT_RULES,
	RESHAPED_PRODUCT_RULES,
	FILL_RULES,
	POOL_RULES,
	POOL_COLUMN_RULES,
	FUSED_RULES,
	IMAGE_SIZE_RULES,
	TURNED_NORM_RULES,
	TURNED_VIEW_RULES,
	UNCOMPILED_RULES,
	SIGNED_VOLUME_RULES,
	ELEMENT_TYPE_RULES,
	CAST_RULES,
	ANOMALY_RULES,
];
