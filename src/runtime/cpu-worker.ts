import { readFileSync } from "node:fs";
import { MARK } from "./child.js";
import { runCpuSession } from "./cpu-session.js";

/** The process of a CPU session: reads the job from the file that is its argument, prints events. */
process.stdin.on("end", () => process.exit(1)).resume();
await runCpuSession(JSON.parse(readFileSync(process.argv[2]!, "utf8")), (event) => {
	process.stdout.write(`\n${MARK}${JSON.stringify(event)}\n`);
});
process.stdout.write("", () => process.exit(0));
