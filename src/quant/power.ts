/** base^exponent for a base of 0 or more and a whole exponent from 2 to 8; much faster than `**`. */
export function powerOf(base: number, exponent: number): number {
	const square = base * base;
	if (exponent === 4) return square * square;
	let power = exponent % 2 === 0 ? square : square * base;
	for (let factors = 2 + (exponent % 2); factors < exponent; factors += 2) power *= square;
	return power;
}
