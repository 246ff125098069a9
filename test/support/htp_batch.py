"""Jobs of htp_check.py, many of them: one a line on stdin, one report a line on stdout, in the same order.

Sessions are forked from this process, which has the libraries loaded, so that a small model takes a fraction of a second.
"""
import json
import os
import signal
import sys
import tempfile
import time

import numpy  # noqa: F401
import onnxruntime  # noqa: F401
import onnxruntime_qnn  # noqa: F401

from htp_check import SESSIONS, TIMEOUT_SECONDS, check, read_json



def main():
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(check(job, folder, run_forked)), flush=True)


def run_forked(kind, job_file, folder):
    log_file = os.path.join(folder, kind + ".log")
    answer_file = os.path.join(folder, kind + ".json")
    child = os.fork()
    if child == 0:
        log = os.open(log_file, os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        try:
            SESSIONS[kind](read_json(job_file), folder)
        finally:
            os._exit(0)
    status = wait(child)
    with open(log_file, encoding="utf-8", errors="replace") as file:
        log = file.read()
    if status is None:
        return {"error": f"no answer within {TIMEOUT_SECONDS} s", "crashed": False, "log": ""}
    if not os.path.exists(answer_file):
        return {"error": f"status {status}: {log[-800:]}", "crashed": True, "log": log}
    error = read_json(answer_file)["error"]
    return {"error": error, "crashed": False, "log": log + (error or "")}


def wait(child):
    """The child's status when it has ended; None where it had to be ended."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended != 0:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    main()
