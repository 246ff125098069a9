/** What the process is attached to; tests give their own. */
export interface Terminal {
	readonly out: NodeJS.WritableStream;
	readonly err: NodeJS.WritableStream;
	/** Draw progress bars and colors? */
	readonly interactive: boolean;
	readonly columns: number;
}

export function processTerminal(): Terminal {
	return {
		out: process.stdout,
		err: process.stderr,
		interactive: process.stderr.isTTY === true,
		columns: process.stdout.columns ?? 120,
	};
}

/** Text of one line out of a model or a message about one: what steers terminals, line ends too, is written out. */
export function plain(text: string): string {
	return text.replace(/\p{Cc}/gu, (control) =>
		control === "\n" ? "\\n" : `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
	);
}

/** A table with two spaces between columns; columns whose cells are all numbers are set to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
	const cells = [head, ...rows].map((row) => row.map((cell) => plain(String(cell))));
	const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
	const rightAligned = head.map((_, column) => rows.every((row) => isNumeric(row[column])));
	return cells
		.map((row) =>
			row
				.map((cell, column) => (rightAligned[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
				.join("  ")
				.trimEnd(),
		)
		.join("\n");
}

function isNumeric(cell: string | number | undefined): boolean {
	return typeof cell === "number" || cell === undefined || /^[-+]?[\d.,]*( ?([KMG]iB|B|dB|%))?$/.test(cell);
}

/** `1.5 MiB`. */
export function byteText(bytes: number): string {
	const units = ["B", "KiB", "MiB", "GiB"];
	const step = bytes === 0 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(Math.abs(bytes)) / 10));
	const value = bytes / 1024 ** step;
	return `${step === 0 ? value : value.toFixed(1)} ${units[step]}`;
}

/** `31.2 dB`; what is exact has no figure. */
export function decibelText(sqnrDb: number | null | undefined): string {
	if (sqnrDb === undefined) return "";
	return sqnrDb === null ? "exact" : `${sqnrDb.toFixed(1)} dB`;
}

/** A bar on stderr, redrawn at most ten times a second, only on a terminal; gone when done. */
export class ProgressBar {
	readonly #terminal: Terminal;
	#drawn = 0;
	#started = performance.now();
	#label = "";

	constructor(terminal: Terminal) {
		this.#terminal = terminal;
	}

	update(label: string, done: number, total: number): void {
		if (!this.#terminal.interactive || total <= 0) return;
		const now = performance.now();
		if (label !== this.#label) {
			this.#label = label;
			this.#started = now;
		} else if (now - this.#drawn < 100) return;
		this.#drawn = now;
		const share = Math.min(1, done / total);
		const filled = Math.round(share * 24);
		const left = share > 0.02 ? ` ${Math.ceil(((now - this.#started) / 1000) * (1 / share - 1))} s left` : "";
		const bar = `${"#".repeat(filled)}${"-".repeat(24 - filled)}`;
		this.#terminal.err.write(`\r\x1b[2K${label} [${bar}] ${Math.floor(share * 100)} %${left}`);
	}

	clear(): void {
		if (this.#terminal.interactive && this.#drawn > 0) this.#terminal.err.write("\r\x1b[2K");
	}
}
