import { AXIS_MODELS } from "./axis-models.js";
import { COMPILED_MODELS } from "./compiled-models.js";
import { FUSED_MODELS } from "./fused-models.js";
import { ISLAND_MODELS } from "./island-models.js";
import { MODE_MODELS } from "./mode-models.js";
import { MOVED_MODELS } from "./moved-models.js";
import { NARROW_MODELS } from "./narrow-models.js";
import { NETWORK_MODELS } from "./network-models.js";
import { NORM_MODELS } from "./norm-models.js";
import { OPERATOR_MODELS, type OperatorModel } from "./operator-models.js";
import { OUTPUT_MODELS } from "./output-models.js";
import { PAD_MODELS, PADDED_POOL_MODELS } from "./pad-models.js";
import { PADDED_MODELS } from "./padded-models.js";
import { PRODUCT_MODELS } from "./product-models.js";
import { RANGE_MODELS } from "./range-models.js";
import { RANK_MODELS } from "./rank-models.js";
import { SHAPE_MODELS } from "./shape-models.js";
import { STORED_MODELS } from "./stored-models.js";
import { VALUE_MODELS } from "./value-models.js";
import { VOLUME_MODELS } from "./volume-models.js";
import { WINDOW_MODELS } from "./window-models.js";
import { WRITTEN_MODELS } from "./written-models.js";

/** Small models that each break a rule for which legalize-operators has the remedy. */
export const REMEDY_MODELS: readonly OperatorModel[] = [
	...OPERATOR_MODELS,
	...MODE_MODELS,
	...SHAPE_MODELS,
	...RANK_MODELS,
	...VOLUME_MODELS,
	...NETWORK_MODELS,
	...FUSED_MODELS,
	...NORM_MODELS,
	...WINDOW_MODELS,
	...WRITTEN_MODELS,
	...PRODUCT_MODELS,
	...RANGE_MODELS,
	...VALUE_MODELS,
	...ISLAND_MODELS,
	...PAD_MODELS,
	...AXIS_MODELS,
	...COMPILED_MODELS,
	...MOVED_MODELS,
	...OUTPUT_MODELS,
	...PADDED_POOL_MODELS,
	...STORED_MODELS,
	...NARROW_MODELS,
	...PADDED_MODELS,
];
