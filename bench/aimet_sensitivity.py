"""Measures the sensitivity of the layers of a float model with aimet-onnx: aimet_sensitivity.py IN.onnx BLOCK_SIZE SAMPLES

int4 weights, LPBQ for MatMuls, and 16-bit activations, calibrated with random samples; what each layer alone costs at the
outputs. Writes to the file that QGRAPH_BENCH_PEAK names, if any: the peak resident memory in KiB, and the seconds that the
analysis took, with imports, quantizing and calibrating not counted.
"""

import sys
import time

import numpy
import onnx
from aimet_onnx.quant_analyzer import analyze_per_layer_sensitivity
from aimet_onnx.quantsim import QuantizationSimModel, set_lpbq_for_params
from peak_memory import write_peak


def main():
    source, block_size, samples = sys.argv[1:]
    model = onnx.load(source)
    random = numpy.random.default_rng(0)
    data = [
        {
            value.name: random.standard_normal(
                [dim.dim_value for dim in value.type.tensor_type.shape.dim], numpy.float32
            )
            for value in model.graph.input
        }
        for _ in range(int(samples))
    ]
    sim = QuantizationSimModel(model, param_type="int4", activation_type="int16")
    set_lpbq_for_params(sim, bitwidth=4, block_size=int(block_size), op_types=("MatMul",))
    sim.compute_encodings(data)
    wanted = []

    def evaluate(session):
        outputs = [session.run(None, inputs)[0] for inputs in data]
        if not wanted:
            wanted.extend(outputs)
        return float(sum(numpy.sum((a - b) ** 2) for a, b in zip(outputs, wanted)))

    start = time.perf_counter()
    analyze_per_layer_sensitivity(sim, evaluate)
    write_peak(time.perf_counter() - start)


main()
