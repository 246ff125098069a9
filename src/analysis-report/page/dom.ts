type Child = Node | string | undefined;

/** An element with text and elements in it. Text is text: nothing of a model is ever parsed as HTML. */
export function element<K extends keyof HTMLElementTagNameMap>(
	tag: K,
	attributes: Readonly<Record<string, string>> = {},
	...children: readonly Child[]
): HTMLElementTagNameMap[K] {
	const made = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
	made.append(...children.filter((child) => child !== undefined));
	return made;
}

/** A part of the page with a heading, a sentence that explains it and things that change it at the right. */
export function section(id: string, title: string, explained: string, ...content: readonly Child[]): HTMLElement {
	const heading = element("h2", {}, title);
	return element(
		"section",
		{ id, class: "card" },
		heading,
		element("p", { class: "explained" }, explained),
		...content,
	);
}

/** Buttons of which one is pressed. */
export function choice<T extends string>(
	label: string,
	options: readonly (readonly [T, string])[],
	chosen: T,
	onChange: (value: T) => void,
): HTMLElement {
	const group = element("div", { class: "choice", role: "group", "aria-label": label });
	for (const [value, text] of options) {
		const button = element(
			"button",
			{ type: "button", "aria-pressed": String(value === chosen), "data-value": value },
			text,
		);
		button.addEventListener("click", () => {
			for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
			onChange(value);
		});
		group.append(button);
	}
	return group;
}

/** Rows of a name and what it is. */
export function facts(rows: readonly (readonly [string, Child])[]): HTMLElement {
	const list = element("dl", { class: "facts" });
	for (const [name, value] of rows) list.append(element("dt", {}, name), element("dd", {}, value));
	return list;
}

/** A name that may break behind dots, slashes and underscores. */
export function nameOf(name: string): HTMLElement {
	const parts = name
		.split(/(?<=[./_])(?![./_])/)
		.flatMap((part, index) => (index === 0 ? [part] : [element("wbr"), part]));
	return element("span", { class: "name" }, ...parts);
}
