import { nodeLabel } from "../../ir/walk.js";
import { intervalOf } from "../../quant/grid.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { PassContext } from "../infra/pass.js";
import type { NoSeparation, Separation } from "./separate-output.js";

/** Says what became of the output of the operator at `site`. */
export function reportSeparation(
	context: Pick<PassContext<unknown>, "report" | "count">,
	{ graphSite, node, weightName }: WeightSite,
	separation: Separation | NoSeparation,
): void {
	const name = nodeLabel(node);
	const at = { graph: graphSite.path, node: name, value: weightName };
	if (separation === "separate already") return;
	if (separation === "float input") {
		const message = `the input of '${name}' is float, expected a DequantizeLinear in front of it; quantize the activations`;
		context.report("weight/float-activations", message, at);
	} else if (separation === "no encoding") {
		const message = `nothing says in what range the output of '${name}' lies; give it a QuantizeLinear by calibration`;
		context.report("qdq/no-encoding", message, at);
	} else {
		context.count("outputs quantized");
		if (separation.origin !== "bound") return;
		const { lo, hi } = intervalOf(separation.encoding);
		context.report(
			"qdq/bound",
			`the output of '${name}' is quantized from ${lo.toPrecision(4)} to ${hi.toPrecision(4)}, all that its input and weight allow; calibration would find less`,
			at,
		);
	}
}
