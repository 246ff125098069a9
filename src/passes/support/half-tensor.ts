import { computedData } from "../../ir/data.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { encodeFloat16 } from "../../quant/float16.js";

/** A FLOAT tensor as FLOAT16, rounded to nearest when it is read. */
export function halfOf({ shape, data }: Tensor): Tensor {
	const half = computedData(data.byteLength / 2, (start, end) => {
		const first = start - (start % 2);
		const last = end + (end % 2);
		const floats = new Float32Array(Uint8Array.from(data.read(first * 2, last * 2)).buffer);
		return encodeFloat16(floats).subarray(start - first, end - first);
	});
	return tensor(DataType.FLOAT16, shape, half);
}
