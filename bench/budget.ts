/*
 * Plans within a budget of bits against what greedy orders reach with the same candidates: mean signal to noise, dB.
 *
 *   npm run build && npx tsc -p bench && node .cache/bench/budget.js model.onnx ...
 */
import path from "node:path";
import { type PlannedUnit, planPrecision, type RecipeRule, readModel } from "qgraph";

type Setting = RecipeRule["setting"];

/** Budgets, as parts of the way from the smallest candidates to the largest. */
const SHARES = [0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9];
const COMMON = { blockSize: 64, blockScales: "lpbq", granularity: "per-channel" } as const;
const SETTINGS: readonly Setting[] = [
	...([16, 32, 64, 128] as const).map((blockSize) => ({ ...COMMON, precision: "16a4w_block", blockSize }) as const),
	{ ...COMMON, precision: "16a4w" },
	{ ...COMMON, precision: "16a8w" },
];

interface Candidate {
	readonly bytes: number;
	readonly noise: number;
}

/** A next step of a greedy walk: unit `unit` becomes its candidate `to`. */
interface Step {
	readonly unit: number;
	readonly to: Candidate;
	readonly from: Candidate;
}

/** What a greedy walk takes next, the step of the highest number first. */
const ORDERS: Readonly<Record<string, (step: Step) => number>> = {
	"gain a byte": ({ from, to }) => (from.noise - to.noise) / (to.bytes - from.bytes),
	gain: ({ from, to }) => from.noise - to.noise,
	"noisiest first": ({ from }) => from.noise,
	"smallest first": ({ from }) => -from.bytes,
	"largest first": ({ from }) => from.bytes,
	"first to last": ({ unit }) => -unit,
	"last to first": ({ unit }) => unit,
};

for (const file of process.argv.slice(2)) await compare(file);

async function compare(file: string): Promise<void> {
	const model = await readModel(file);
	const units = await candidatesOf(file);
	const orders = Object.keys(ORDERS);
	console.log(`\n| ${path.basename(file)}, bits a weight | plan | at most | ${orders.join(" | ")} |`);
	console.log(`| ---: |${" ---: |".repeat(orders.length + 2)}`);
	const [least, most] = [Math.min, Math.max].map((end) => {
		return units.reduce((sum, candidates) => sum + end(...candidates.map(({ bytes }) => bytes)), 0);
	}) as [number, number];
	const whole = { candidates: SETTINGS, headWeight: 1, fit: "max" } as const;
	const { bitsPerWeight: leastBits } = await planPrecision(model, { ...whole, budget: { minSqnrDb: -100 } });
	for (const share of SHARES) {
		const bytes = Math.floor(least + share * (most - least));
		const bitsPerWeight = (leastBits * (bytes + 0.5)) / least;
		const plan = await planPrecision(model, { ...whole, budget: { bitsPerWeight } });
		const greedy = orders.map((order) => decibels(walk(units, bytes, ORDERS[order]!)));
		const cells = [bitsPerWeight, plan.sqnrDb!, plan.boundDb!, ...greedy].map((value) => value.toFixed(2));
		console.log(`| ${cells.join(" | ")} |`);
		if (greedy.some((value) => value > plan.sqnrDb! + 1e-9)) throw new Error("a greedy order is better than the plan");
	}
}

/** What every unit may become: the units of plans that have one candidate only, at no budget and at the least. */
async function candidatesOf(file: string): Promise<Candidate[][]> {
	const model = await readModel(file);
	const byUnit = new Map<string, Map<string, Candidate>>();
	for (const setting of SETTINGS) {
		for (const budget of [{ bitsPerWeight: 64 }, { minSqnrDb: -100 }]) {
			const { units } = await planPrecision(model, { budget, candidates: [setting], headWeight: 1, fit: "max" });
			for (const unit of units) {
				const key = unit.weights.join();
				const found = byUnit.get(key) ?? new Map<string, Candidate>();
				byUnit.set(key, found.set(JSON.stringify(unit.setting), candidateOf(unit)));
			}
		}
	}
	return [...byUnit.values()].map((candidates) => [...candidates.values()]);
}

function candidateOf({ bytes, sqnrDb }: PlannedUnit): Candidate {
	return { bytes, noise: sqnrDb === null ? 0 : 10 ** (-sqnrDb / 10) };
}

/** Mean noise of the choice that a greedy walk from the smallest candidates ends with. */
function walk(units: readonly (readonly Candidate[])[], budget: number, value: (step: Step) => number): number {
	const chosen = units.map((candidates) => candidates.reduce((a, b) => (b.bytes < a.bytes ? b : a)));
	let bytes = chosen.reduce((sum, candidate) => sum + candidate.bytes, 0);
	for (;;) {
		const steps = units.flatMap((candidates, unit) => {
			const from = chosen[unit]!;
			return candidates
				.filter((to) => to.noise < from.noise && to.bytes > from.bytes && bytes + to.bytes - from.bytes <= budget)
				.map((to) => ({ unit, from, to }));
		});
		if (steps.length === 0) break;
		const best = steps.reduce((a, b) => (value(b) > value(a) ? b : a));
		bytes += best.to.bytes - best.from.bytes;
		chosen[best.unit] = best.to;
	}
	return chosen.reduce((sum, { noise }) => sum + noise, 0) / units.length;
}

function decibels(noise: number): number {
	return -10 * Math.log10(noise);
}
