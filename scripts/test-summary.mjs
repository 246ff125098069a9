/*
 * Prints how many test cases passed and failed, by vitest's JSON report, as a last line that CI reads.
 * Exits with 1 when one failed, or a file of tests could not run, or there was none.
 *
 *   node scripts/test-summary.mjs .cache/test-results.json
 */
import { existsSync, readFileSync } from "node:fs";

const [file = ""] = process.argv.slice(2);
const results = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
const { numPassedTests: passed = 0, numFailedTests: failed = 0, numPendingTests: skipped = 0 } = results ?? {};

if (results === undefined) console.log("no tests ran: something before them failed");
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = results?.success === true && passed > 0 ? 0 : 1;
