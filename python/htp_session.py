"""Compiles an ONNX model for the Hexagon HTP and runs it on the HTP emulator of the Python package onnxruntime-qnn.

Reads a job from the JSON file that is its argument and prints events, lines of a mark and a JSON object, among whatever
the native libraries print. src/runtime/session.ts and src/runtime/htp.ts say what the fields mean. Ends without unloading
the libraries, which do not always unload cleanly, and ends when its stdin closes, which is when whoever asked is gone.
"""
import json
import os
import sys
import threading
import time

MARK = "@@qgraph@@"
PROVIDER = "QNNExecutionProvider"


def main():
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    try:
        if "sessions" in job:
            serve(job)
        else:
            threading.Thread(target=end_with_parent, daemon=True).start()
            run(job)
        emit({"event": "done"})
    except Exception as error:  # whatever goes wrong is an answer
        emit({"event": "error", "message": str(error)[:4000]})
    sys.stderr.flush()
    os._exit(0)


def end_with_parent():
    os.read(0, 1)
    os._exit(1)


def emit(event):
    sys.stdout.write("\n" + MARK + json.dumps(event) + "\n")
    sys.stdout.flush()


def run(job):
    start = time.perf_counter()
    register()
    before = [make_session({**job, **other}) for other in job["before"]]  # contexts are shared with those that live
    session = make_session(job)
    emit({"event": "loaded", "seconds": time.perf_counter() - start})
    for sample, inputs in enumerate(job["samples"]):
        answer(session, inputs, job["folder"], sample)


def answer(session, inputs, folder, sample):
    import numpy

    names = [output.name for output in session.get_outputs()]
    wanted = {given.name for given in session.get_inputs()}
    feeds = {given["name"]: read_tensor(given) for given in inputs if given["name"] in wanted}
    start = time.perf_counter()
    results = session.run(None, feeds)
    seconds = time.perf_counter() - start
    outputs = []
    for index, (name, value) in enumerate(zip(names, results)):
        file = os.path.join(folder, f"{sample}-{index}.bin")
        if not isinstance(value, numpy.ndarray) or value.dtype == object:
            continue
        numpy.ascontiguousarray(value).tofile(file)
        outputs.append({"name": name, "type": value.dtype.name, "shape": list(value.shape), "file": file})
    emit({"event": "ran", "sample": sample, "seconds": seconds, "outputs": outputs})


def serve(job):
    """Loads several models, and runs them as lines of stdin ask, until that closes."""
    start = time.perf_counter()
    register()
    sessions = {}
    for name, own in job["sessions"].items():
        try:
            sessions[name] = make_session({"dimensions": {}, **own})
        except Exception as error:
            raise RuntimeError(f"'{name}': {error}") from error
    emit({"event": "loaded", "seconds": time.perf_counter() - start})
    for count, line in enumerate(sys.stdin):
        asked = json.loads(line)
        answer(sessions[asked["session"]], asked["inputs"], job["folder"], count)


def register():
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())


def make_session(job):
    import onnxruntime
    import onnxruntime_qnn

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    for key, value in job["sessionConfig"].items():
        settings.add_session_config_entry(key, value)
    for name, length in job["dimensions"].items():
        settings.add_free_dimension_override_by_name(name, length)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise RuntimeError("ONNX Runtime found no device of the QNN execution provider")
    settings.add_provider_for_devices(devices, {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **job["providerOptions"]})
    return onnxruntime.InferenceSession(job["model"], sess_options=settings)


def read_tensor(given):
    import numpy

    return numpy.fromfile(given["file"], dtype=given["type"]).reshape(given["shape"])


if __name__ == "__main__":
    main()
