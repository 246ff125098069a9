"""Lowers MatMulNBits by Olive's pass, reading and writing included: olive_lower.py IN.onnx OUT.onnx

Writes to the file that QGRAPH_BENCH_PEAK names, if any: the peak resident memory in KiB beyond what the imports took, and
the seconds that it took without the imports.
"""

import os
import re
import sys
import time

os.environ.setdefault("OLIVE_DISABLE_TELEMETRY", "1")

from olive.model import ONNXModelHandler
from olive.passes.olive_pass import create_pass_from_dict
from olive.passes.onnx.mnb_to_qdq import MatMulNBitsToQDQ


def main():
    source, target = sys.argv[1:]
    imported_kib = memory_kib("VmRSS")
    start = time.perf_counter()
    config = {"use_signed_int": True, "save_as_external_data": True, "all_tensors_to_one_file": True}
    lower = create_pass_from_dict(MatMulNBitsToQDQ, config, disable_search=True)
    lower.run(ONNXModelHandler(model_path=source), target)
    seconds = time.perf_counter() - start
    if peak_file := os.environ.get("QGRAPH_BENCH_PEAK"):
        with open(peak_file, "w", encoding="utf-8") as file:
            file.write(f"{memory_kib('VmHWM') - imported_kib} {seconds}")


def memory_kib(field):
    with open("/proc/self/status", encoding="utf-8") as file:
        return int(re.search(rf"^{field}:\s+(\d+) kB$", file.read(), re.MULTILINE)[1])


main()
