import { QGraphError } from "../diagnostics.js";
import type { EncodingsVersion, TensorEncoding } from "./encoding.js";
import { isChannelMajor, type PlacedAffine, type PlacedEncoding, type PlacedLpbq, transposed } from "./placement.js";

/**
 * An encoding as a version of the format lists its numbers: {@link placeEncoding} the other way round.
 *
 * @throws QGraphError `encodings/not-representable` where the version has no way to say it.
 */
export function encodingFor(
	version: EncodingsVersion,
	name: string,
	section: "parameter" | "activation",
	placed: PlacedEncoding,
): TensorEncoding {
	const named = { name, section: version.startsWith("2") ? undefined : section };
	return placed.kind === "affine" ? affineFor(version, named, placed) : lpbqFor(version, named, placed);
}

type Named = Pick<TensorEncoding, "name" | "section">;

function affineFor(version: EncodingsVersion, named: Named, placed: PlacedAffine): TensorEncoding {
	const { codes, shape, channelAxis, blockAxis, blockSize, scales, zeroPoints } = placed;
	const common = { kind: "affine" as const, ...named, codes };
	const list = { shape: [scales.length], values: scales };
	if (shape.length === 0) {
		const isScalar = version.startsWith("2");
		return {
			...common,
			granularity: "tensor",
			scales: isScalar ? { shape: [], values: scales } : list,
			zeroPoints,
			axis: undefined,
			blockSize: 0,
		};
	}
	if (blockAxis === undefined) {
		const axis = version.startsWith("2") ? channelAxis : undefined;
		return { ...common, granularity: "channel", scales: list, zeroPoints, axis, blockSize: 0 };
	}
	if (version.startsWith("2")) {
		const nested = { shape, values: scales };
		return { ...common, granularity: "block", scales: nested, zeroPoints, axis: blockAxis, blockSize };
	}
	checkListed(version, named, placed);
	if (version === "0.6.1")
		return { ...common, granularity: "channel", scales: list, zeroPoints, axis: undefined, blockSize: 0 };
	return {
		...common,
		granularity: "block",
		scales: { shape: list.shape, values: listed(scales, placed) },
		zeroPoints: zeroPoints && listed(zeroPoints, placed),
		axis: undefined,
		blockSize,
	};
}

function lpbqFor(version: EncodingsVersion, named: Named, placed: PlacedLpbq): TensorEncoding {
	const { codes, expandedBits, shape, channelAxis, blockAxis, blockSize, integers, channelScales } = placed;
	if (version === "0.6.1") throw notRepresentable(named, "version 0.6.1 has no LPBQ");
	const common = { kind: "lpbq" as const, ...named, codes, expandedBits, blockSize };
	if (version === "1.0.0") {
		checkListed(version, named, placed);
		return {
			...common,
			channelScales: { shape: [channelScales.length], values: channelScales },
			integers: { shape: [integers.length], values: listed(integers, placed) },
			axis: undefined,
			channelAxis: undefined,
		};
	}
	if (expandedBits !== 2 * codes.bits) {
		throw notRepresentable(
			named,
			`version ${version} has codes that expand to twice their bits only, not to ${expandedBits}`,
		);
	}
	const kept = shape.map((_, axis) => (axis === channelAxis ? channelScales.length : 1));
	const isDouble = version === "2.1.0";
	return {
		...common,
		channelScales: { shape: isDouble ? [channelScales.length] : kept, values: channelScales },
		integers: { shape, values: integers },
		axis: blockAxis,
		channelAxis: isDouble ? channelAxis : undefined,
	};
}

/** Before version 2 readers make the shape of the scales from the axes: those may not change along any other. */
function checkListed(version: EncodingsVersion, named: Named, { shape, channelAxis, blockAxis }: PlacedEncoding): void {
	const others = shape.flatMap((dim, axis) => (dim > 1 && axis !== channelAxis && axis !== blockAxis ? [axis] : []));
	if (others.length === 0 && channelAxis !== undefined) return;
	const why =
		channelAxis === undefined
			? "it is not known which axis is that of its channels"
			: `its scales change along axis ${others[0]}, too`;
	throw notRepresentable(named, `version ${version} lists one scale for each block of a channel, but ${why}`);
}

function listed(numbers: Float64Array, { shape, channelAxis }: PlacedEncoding): Float64Array {
	return isChannelMajor({ shape, channelAxis }) ? transposed(numbers, [...shape].reverse()) : numbers;
}

function notRepresentable({ name }: Named, why: string): QGraphError {
	return new QGraphError("encodings/not-representable", `the encoding of '${name}' cannot be written: ${why}`, {
		value: name,
	});
}
