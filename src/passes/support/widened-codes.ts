import { tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { slabElements, slabRows, slabStart } from "../../quant/layout.js";
import { codesOf } from "./form-values.js";
import { withZeroPoints } from "./legal-form.js";
import { slabBytes } from "./slab-data.js";
import { layoutOf, type WeightForm } from "./weight-form.js";

/** The same weight with INT8 codes, its zero points taken off them. For codes of 4 bits, whose differences fit. */
export function withDifferences(form: WeightForm): WeightForm {
	const layout = layoutOf(form);
	const columns = layout.channels * layout.spatial;
	const data = slabBytes(layout, ({ first, count }) => {
		const zeros = form.zeroPoint && codesOf(form.zeroPoint, first * columns, count * columns);
		const rows = Array.from({ length: count }, (_, slab) => slabRows(layout, first + slab));
		const differences = Int8Array.from(
			codesOf(form.codes, slabStart(layout, first), slabElements(layout, first, count)),
		);
		let at = 0;
		for (const [slab, length] of rows.entries()) {
			for (let row = 0; row < length; row++) {
				for (let column = 0; column < columns; column++, at++)
					differences[at]! -= zeros?.[slab * columns + column] ?? 0;
			}
		}
		return new Uint8Array(differences.buffer);
	});
	return withZeroPoints({ ...form, codes: tensor(DataType.INT8, form.codes.shape, data) });
}
