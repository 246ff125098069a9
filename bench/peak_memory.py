"""Peak memory of this process, for the benchmark."""

import os
import re
import resource


def write_peak(seconds=None):
    """Writes the peak resident memory in KiB, and the time if it is given, to the file that QGRAPH_BENCH_PEAK names, if any."""
    if peak_file := os.environ.get("QGRAPH_BENCH_PEAK"):
        with open(peak_file, "w", encoding="utf-8") as file:
            file.write(str(_peak_kib()) if seconds is None else f"{_peak_kib()} {seconds}")


def _peak_kib():
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return re.search(r"^VmHWM:\s+(\d+) kB$", file.read(), re.MULTILINE)[1]
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
