"""Reads a model with all its weights and writes it again: load_save.py onnx|onnx-ir IN.onnx OUT.onnx

Writes the peak resident memory in KiB to the file that QGRAPH_BENCH_PEAK names, if any.
"""

import os
import re
import resource
import sys


def main():
    library, source, target = sys.argv[1:]
    data = os.path.basename(target) + ".data"
    if library == "onnx":
        import onnx

        onnx.save(onnx.load(source), target, save_as_external_data=True, location=data)
    else:
        import onnx_ir

        onnx_ir.save(onnx_ir.load(source), target, external_data=data)
    if peak_file := os.environ.get("QGRAPH_BENCH_PEAK"):
        with open(peak_file, "w", encoding="utf-8") as file:
            file.write(str(peak_kib()))


def peak_kib():
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return re.search(r"^VmHWM:\s+(\d+) kB$", file.read(), re.MULTILINE)[1]
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


main()
