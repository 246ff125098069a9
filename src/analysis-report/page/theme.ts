/** What the style sheet names its colours. */
type ColorName =
	| "ink"
	| "muted"
	| "line"
	| "card"
	| "blue"
	| "orange"
	| "green"
	| "purple"
	| "amber"
	| "low"
	| "lowish"
	| "middle"
	| "highish"
	| "high";

export type Theme = "light" | "dark";

const listeners: (() => void)[] = [];

export function onThemeChange(listener: () => void): void {
	listeners.push(listener);
}

export function currentTheme(): Theme {
	return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

/** A colour of the theme that is shown. */
export function color(name: ColorName): string {
	return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** From low values to high ones; told apart with any colour vision, for the ends differ in blue and yellow. */
export function scaleColors(): string[] {
	return (["low", "lowish", "middle", "highish", "high"] as const).map(color);
}

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

export function fontOf(): string {
	return FONT;
}

/** The theme of the system until somebody chooses another one. */
export function startTheme(button: HTMLButtonElement): void {
	const dark = matchMedia("(prefers-color-scheme: dark)");
	let isChosen = false;
	const show = (theme: Theme) => {
		document.documentElement.dataset.theme = theme;
		button.textContent = theme === "dark" ? "Light" : "Dark";
		button.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
		for (const listener of listeners) listener();
	};
	show(dark.matches ? "dark" : "light");
	dark.addEventListener("change", () => {
		if (!isChosen) show(dark.matches ? "dark" : "light");
	});
	button.addEventListener("click", () => {
		isChosen = true;
		show(currentTheme() === "dark" ? "light" : "dark");
	});
}
