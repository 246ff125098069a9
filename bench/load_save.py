"""Reads a model with all its weights and writes it again: load_save.py onnx|onnx-ir IN.onnx OUT.onnx"""

import os
import sys

from peak_memory import write_peak


def main():
    library, source, target = sys.argv[1:]
    data = os.path.basename(target) + ".data"
    if library == "onnx":
        import onnx

        onnx.save(onnx.load(source), target, save_as_external_data=True, location=data)
    else:
        import onnx_ir

        onnx_ir.save(onnx_ir.load(source), target, external_data=data)
    write_peak()


main()
