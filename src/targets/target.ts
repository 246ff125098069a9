import { QGraphError } from "../diagnostics.js";

/** Generations of the Hexagon Tensor Processor, as QNN's option `htp_arch` numbers them. */
export const HTP_ARCHITECTURES = ["v68", "v69", "v73", "v75", "v79", "v81"] as const;
export type HtpArchitecture = (typeof HTP_ARCHITECTURES)[number];

/** A chip, with QNN's `soc_model` number for it. */
export interface Soc {
	readonly name: string;
	readonly model: number;
	readonly architecture: HtpArchitecture;
}

/** Chips whose number and architecture were tried on the compiler of QNN 2.51. */
export const SOCS: readonly Soc[] = Object.freeze([
	{ name: "SM8350", model: 30, architecture: "v68" },
	{ name: "SM8450", model: 36, architecture: "v69" },
	{ name: "SM8550", model: 43, architecture: "v73" },
	{ name: "SM8650", model: 57, architecture: "v75" },
	{ name: "SC8380XP", model: 60, architecture: "v73" },
	{ name: "SM8750", model: 69, architecture: "v79" },
	{ name: "SM8850", model: 87, architecture: "v81" },
	{ name: "SC8480XP", model: 88, architecture: "v81" },
]);

/** What a model is made for. */
export interface Target {
	readonly backend: "qnn-htp";
	readonly architecture: HtpArchitecture;
	/** undefined where only the architecture was named. */
	readonly soc: Soc | undefined;
}

/** Reads `qnn-htp:v79`, `qnn-htp:SM8750` or `qnn-htp:69`; throws `target/unknown` for anything else. */
export function parseTarget(text: string): Target {
	const [backend, device = "", ...rest] = text.split(":");
	if (backend === "qnn-htp" && rest.length === 0) {
		const architecture = HTP_ARCHITECTURES.find((name) => name === device.toLowerCase());
		if (architecture !== undefined) return { backend, architecture, soc: undefined };
		const soc = SOCS.find(({ name, model }) => name === device.toUpperCase() || String(model) === device);
		if (soc !== undefined) return { backend, architecture: soc.architecture, soc };
	}
	const names = [...HTP_ARCHITECTURES, ...SOCS.map(({ name }) => name)].join(", ");
	throw new QGraphError("target/unknown", `there is no target '${text}'; expected 'qnn-htp:' and one of ${names}`);
}

/** The spelling that {@link parseTarget} reads. */
export function targetName({ backend, architecture, soc }: Target): string {
	return `${backend}:${soc?.name ?? architecture}`;
}

/** The chip to compile for: the one that was named, or the first known of the architecture. */
export function chipOf({ architecture, soc }: Target): Soc {
	return soc ?? SOCS.find((known) => known.architecture === architecture)!;
}
