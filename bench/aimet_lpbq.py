"""Quantizes the MatMul weights of a float model to LPBQ with aimet-onnx: aimet_lpbq.py IN.onnx OUT.onnx BLOCK_SIZE

The output is AIMET's export, the model and an encodings file. Writes to the file that QGRAPH_BENCH_PEAK names, if any: the
peak resident memory in KiB, and the seconds from the model's file to the export, imports not counted.
"""

import os
import sys
import time

import numpy
import onnx
from aimet_onnx.quantsim import QuantizationSimModel, set_lpbq_for_params
from peak_memory import write_peak


def main():
    source, target, block_size = sys.argv[1:]
    start = time.perf_counter()
    model = onnx.load(source)
    inputs = {
        value.name: numpy.zeros([dim.dim_value for dim in value.type.tensor_type.shape.dim], numpy.float32)
        for value in model.graph.input
    }
    sim = QuantizationSimModel(model, param_type="int4", activation_type="int16")
    set_lpbq_for_params(sim, bitwidth=4, block_size=int(block_size), op_types=("MatMul",))
    sim.compute_encodings([inputs])
    sim.export(os.path.dirname(target), "model", encoding_version="1.0.0")
    write_peak(time.perf_counter() - start)


main()
