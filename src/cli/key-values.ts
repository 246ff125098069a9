import { QGraphError } from "../index.js";

/** `["htp_arch=73"]` as `{ htp_arch: "73" }`; throws `cli/key-value` for what has no `=`. */
export function keyValues(flag: string, given: unknown): Record<string, string> {
	const pairs = ((given as readonly string[] | undefined) ?? []).map((text) => {
		const at = text.indexOf("=");
		if (at <= 0)
			throw new QGraphError("cli/key-value", `'--${flag} ${text}' has no value, expected --${flag} name=value`);
		return [text.slice(0, at), text.slice(at + 1)] as const;
	});
	return Object.fromEntries(pairs);
}

/** `["batch=1"]` as `{ batch: 1 }`; throws `cli/key-value` for what is no length. */
export function lengths(flag: string, given: unknown): Record<string, number> {
	const pairs = Object.entries(keyValues(flag, given)).map(([name, text]) => {
		const length = Number(text);
		if (/^\d+$/.test(text) && Number.isSafeInteger(length)) return [name, length] as const;
		throw new QGraphError("cli/key-value", `'--${flag} ${name}=${text}' is no length, expected a whole number`);
	});
	return Object.fromEntries(pairs);
}
