/** A Markdown table. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
	const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
	return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** `page` with `content` between the markers `<!-- name:start -->` and `<!-- name:end -->`. */
export function fillMarkers(page: string, name: string, content: string): string {
	const [start, end] = [`<!-- ${name}:start -->`, `<!-- ${name}:end -->`];
	const [from, to] = [page.indexOf(start), page.indexOf(end)];
	if (from < 0 || to < from) throw new Error(`the page has no '${start}' with a '${end}' behind it`);
	return `${page.slice(0, from + start.length)}\n${content}\n${page.slice(to)}`;
}
