"""Compiles an ONNX model for the Hexagon HTP and runs it on the HTP emulator of the Python package onnxruntime-qnn.

Reads one job as JSON, from the file named as argument or else from stdin, and prints one report as JSON on stdout:

  job:    {"model": PATH,
           "options": {"htp_arch": "73", ...},   provider options of QNN
           "run": true,                          false: only compile
           "inputs": PATH.npz,                   or else float inputs are normal, drawn by
           "seed": 0, "inputScale": 1.0,         with this standard deviation
           "indices": 2}                         int64 inputs are below this, uint8 inputs of all codes
  report: {"status": "ok" | "refused" | "failed" | "crashed",
           "unsupported": [{"name": ..., "type": ...}, ...],      nodes that the compiler leaves to the CPU
           "outputs": [{"name": ..., "sqnrDb": 77.1 | null}, ...],   against the CPU; null: equal
           "error": TEXT | null}

"ok" means that the whole model is on the HTP: the CPU is no fallback. "refused": some nodes are not. The reference is
the same file on ONNX Runtime's CPU provider with all optimizations off. Each session lives in a process of its own, for
the native libraries crash on some models.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import zlib

TIMEOUT_SECONDS = 300
UNSUPPORTED = re.compile(r"\{ name: ([^,}]*), type: (\w+) \}")


def main():
    if len(sys.argv) == 4 and sys.argv[1] in SESSIONS:
        SESSIONS[sys.argv[1]](read_json(sys.argv[2]), sys.argv[3])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # the native libraries do not always unload cleanly
    job = read_json(sys.argv[1]) if len(sys.argv) > 1 else json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(check(job, folder)))


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def check(job, folder, run_session=None):
    run_session = run_session or run_in_process
    job_file = os.path.join(folder, "job.json")
    with open(job_file, "w", encoding="utf-8") as file:
        json.dump({**job, "model": os.path.abspath(job["model"])}, file)
    report = {"status": "ok", "unsupported": [], "outputs": [], "error": None}
    htp = run_session("htp", job_file, folder)
    if htp["error"] is not None:
        nodes = dict.fromkeys(UNSUPPORTED.findall(htp["log"]))
        report["unsupported"] = [{"name": name, "type": op} for name, op in nodes]
        report["error"] = htp["error"]
        report["status"] = "crashed" if htp["crashed"] else "refused" if nodes else "failed"
    elif job.get("run", True):
        cpu = run_session("cpu", job_file, folder)
        if cpu["error"] is not None:
            return {**report, "status": "failed", "error": "CPU: " + cpu["error"]}
        report["outputs"] = compare(os.path.join(folder, "cpu.npz"), os.path.join(folder, "htp.npz"))
    return report


def run_in_process(kind, job_file, folder):
    """One session in a process of its own; what it makes is in <kind>.npz."""
    answer_file = os.path.join(folder, kind + ".json")
    command = [sys.executable, os.path.abspath(__file__), kind, job_file, folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, cwd=folder)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {TIMEOUT_SECONDS} s", "crashed": False, "log": ""}
    log = done.stdout + done.stderr
    if not os.path.exists(answer_file):
        return {"error": f"exit status {done.returncode}: {log[-800:]}", "crashed": True, "log": log}
    error = read_json(answer_file)["error"]
    return {"error": error, "crashed": False, "log": log + (error or "")}


def htp_session(job):
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    provider = "QNNExecutionProvider"
    ort.register_execution_provider_library(provider, qnn.get_library_path())
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options = {"backend_path": qnn.get_qnn_htp_path(), "offload_graph_io_quantization": "0", **job.get("options", {})}
    devices = [device for device in ort.get_ep_devices() if device.ep_name == provider]
    settings.add_provider_for_devices(devices, options)
    return ort.InferenceSession(job["model"], sess_options=settings)


def cpu_session(job):
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(job["model"], sess_options=settings, providers=["CPUExecutionProvider"])


def session(kind, make):
    def run(job, folder):
        error = None
        try:
            made = make(job)
            if job.get("run", True):
                import numpy as np

                names = [output.name for output in made.get_outputs()]
                np.savez(os.path.join(folder, kind + ".npz"), **dict(zip(names, made.run(None, feeds(made, job)))))
        except Exception as exception:  # the report says whatever went wrong
            error = str(exception)[:4000]
        with open(os.path.join(folder, kind + ".json"), "w", encoding="utf-8") as file:
            json.dump({"error": error}, file)

    return run


def feeds(made, job):
    import numpy as np

    if "inputs" in job:
        with np.load(job["inputs"]) as given:
            return dict(given)
    values = {}
    for given in made.get_inputs():
        # By its name, so that an input stays what it is when a model gets others.
        random = np.random.default_rng([job.get("seed", 0), zlib.crc32(given.name.encode())])
        taken = ("tensor(float)", "tensor(int64)", "tensor(uint8)")
        if given.type not in taken or not all(isinstance(dim, int) for dim in given.shape):
            raise ValueError(f"input '{given.name}' is {given.type} {given.shape}, expected fixed float, int64 or uint8")
        if given.type == "tensor(uint8)":
            values[given.name] = random.integers(0, 256, given.shape, np.uint8)
            continue
        if given.type == "tensor(int64)":
            values[given.name] = random.integers(0, job.get("indices", 2), given.shape)
            continue
        values[given.name] = np.asarray(random.standard_normal(given.shape) * job.get("inputScale", 1.0), np.float32)
    return values


def compare(reference_file, actual_file):
    import numpy as np

    outputs = []
    with np.load(reference_file) as reference, np.load(actual_file) as actual:
        for name in reference.files:
            wanted, got = reference[name].astype(np.float64), actual[name].astype(np.float64)
            signal = (wanted**2).sum()
            noise = ((wanted - got) ** 2).sum() if got.shape == wanted.shape else np.inf
            if noise == 0:
                sqnr = None
            elif signal == 0 or not np.isfinite(noise):
                sqnr = -999.0
            else:
                sqnr = float(10 * np.log10(signal / noise))
            outputs.append({"name": name, "sqnrDb": sqnr})
    return outputs


SESSIONS = {"htp": session("htp", htp_session), "cpu": session("cpu", cpu_session)}

if __name__ == "__main__":
    main()
