import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import type { ErrorSum } from "../../quant/measure.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import type { HtpArchitecture } from "../../targets/target.js";
import type { TypeSource } from "../../targets/type-source.js";
import type { NoSeparation, Separation } from "./separate-output.js";

/** What a remedy works with. */
export interface Tools {
	readonly model: Model;
	readonly names: NameScope;
	readonly architecture: HtpArchitecture;
	readonly types: TypeSource;
	/** Says what the range of an output was derived from, or why there is none. */
	report(operator: OperatorFacts, separation: Separation | NoSeparation): void;
	/** Says that the weight of an operator is not quite what it was, for what was done, in words. */
	reportLoss(operator: OperatorFacts, step: string, error: ErrorSum): void;
}

/** Makes an operator keep a rule that it breaks; says whether it could. */
export type Remedy = (operator: OperatorFacts, tools: Tools) => boolean;

/** The id of a rule, and the remedy for what breaks it. */
export type RemedyEntry = readonly [rule: string, remedy: Remedy];
