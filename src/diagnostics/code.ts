export type Severity = "error" | "warning" | "remark";

/** What is known of a code. */
export interface CodeInfo {
	readonly severity: Severity;
	/** What it means and what to do, for docs/diagnostics.md. */
	readonly explain: string;
}

export const error = (explain: string): CodeInfo => ({ severity: "error", explain });
export const warning = (explain: string): CodeInfo => ({ severity: "warning", explain });
export const remark = (explain: string): CodeInfo => ({ severity: "remark", explain });
