import type { Role } from "./role.js";

/**
 * Something that a recipe decides the precision of: a constant weight at one operator, the table of a Gather, the product
 * of two activations in an attention, or the cache of keys or values of a layer; any other operator is a unit for rules
 * that name it, its module or its layer.
 */
export interface Unit {
	readonly kind: "weight" | "embedding" | "attention-product" | "kv-cache" | "operator";
	/** Label of the operator, or of the cache's graph input. */
	readonly node: string;
	readonly op: string;
	/** Path of graphs, as GraphSite.path. */
	readonly graph: string;
	/** Module path, outer modules first, with dots. */
	readonly scope: string;
	readonly weight: string | undefined;
	/** Of the weight or table. */
	readonly shape: readonly number[] | undefined;
	readonly role: Role | undefined;
	readonly layer: number | undefined;
}
