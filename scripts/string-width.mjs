/*
 * Stands in for the package that yargs lays its help out with: our help is ASCII, and the expressions of that package over all
 * of Unicode take 22 ms of every start.
 */
import { stripVTControlCharacters } from "node:util";

export default (text) => stripVTControlCharacters(text).length;
