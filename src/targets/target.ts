import { QGraphError } from "../diagnostics.js";

/** Generations of the Hexagon Tensor Processor, as QNN's option `htp_arch` numbers them. */
export const HTP_ARCHITECTURES = ["v68", "v69", "v73", "v75", "v79", "v81"] as const;
export type HtpArchitecture = (typeof HTP_ARCHITECTURES)[number];

/** A chip, with QNN's `soc_model` number for it. */
export interface Soc {
	readonly name: string;
	/** What it is sold as. */
	readonly product: string;
	readonly model: number;
	readonly architecture: HtpArchitecture;
}

/** Chips whose number and architecture were tried on the compiler of QNN 2.51; of each architecture first the one measured. */
export const SOCS: readonly Soc[] = Object.freeze([
	{ name: "SM8350", product: "Snapdragon 888", model: 30, architecture: "v68" },
	{ name: "SA8295", product: "Snapdragon Cockpit, 4th generation", model: 39, architecture: "v68" },
	{ name: "QCM6490", product: "Dragonwing", model: 93, architecture: "v68" },
	{ name: "SM8450", product: "Snapdragon 8 Gen 1", model: 36, architecture: "v69" },
	{ name: "SM8475", product: "Snapdragon 8+ Gen 1", model: 42, architecture: "v69" },
	{ name: "SM8550", product: "Snapdragon 8 Gen 2", model: 43, architecture: "v73" },
	{ name: "SA8255", product: "Snapdragon Ride Flex", model: 52, architecture: "v73" },
	{ name: "QCS9100", product: "Dragonwing IQ-9", model: 77, architecture: "v73" },
	{ name: "SM8650", product: "Snapdragon 8 Gen 3", model: 57, architecture: "v75" },
	{ name: "SC8380XP", product: "Snapdragon X Elite and X Plus", model: 60, architecture: "v73" },
	{ name: "SM8750", product: "Snapdragon 8 Elite", model: 69, architecture: "v79" },
	{ name: "SM8850", product: "Snapdragon 8 Elite Gen 5", model: 87, architecture: "v81" },
	{ name: "SC8480XP", product: "Snapdragon X2 Elite", model: 88, architecture: "v81" },
	{ name: "SM8845", product: "Snapdragon 8 Gen 5", model: 97, architecture: "v81" },
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
	const architectures = HTP_ARCHITECTURES.join(", ");
	const chips = SOCS.map(({ name }) => name).join(", ");
	throw new QGraphError(
		"target/unknown",
		`there is no target '${text}'; expected 'qnn-htp:' and an architecture (${architectures}) or a chip (${chips}); other chips are named by their architecture`,
	);
}

/** The spelling that {@link parseTarget} reads. */
export function targetName({ backend, architecture, soc }: Target): string {
	return `${backend}:${soc?.name ?? architecture}`;
}

/** The chip to compile for: the one that was named, or the first known of the architecture. */
export function chipOf({ architecture, soc }: Target): Soc {
	return soc ?? SOCS.find((known) => known.architecture === architecture)!;
}
