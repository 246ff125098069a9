import { LiveSession } from "../runtime/live-session.js";

/** Sessions that nobody uses and that are kept for the next who asks for the same model. */
const MOST_IDLE = 4;

interface Shared {
	readonly key: string;
	readonly session: Promise<LiveSession>;
	users: number;
}

/** Sessions of small models, of which many are the same: layers of one shape, say. */
export class SharedSessions {
	readonly #all: Map<string, Shared> = new Map();

	/** A session of the model; the function gives it back. */
	async take(model: Uint8Array): Promise<{ readonly session: LiveSession; readonly giveBack: () => Promise<void> }> {
		const key = Buffer.from(model).toString("latin1");
		const shared = this.#all.get(key) ?? { key, session: LiveSession.open(model), users: 0 };
		shared.users++;
		// as the one used last it is closed last
		this.#all.delete(key);
		this.#all.set(key, shared);
		const giveBack = async () => {
			shared.users--;
			const idle = [...this.#all.values()].filter(({ users }) => users === 0);
			for (const { key: other, session } of idle.slice(0, -MOST_IDLE)) {
				this.#all.delete(other);
				await (await session).close();
			}
		};
		return { session: await shared.session, giveBack };
	}

	async close(): Promise<void> {
		const all = [...this.#all.values()];
		this.#all.clear();
		for (const { session } of all) await (await session).close();
	}
}
