"""Generates greedily with ONNX Runtime GenAI.

Reads lines of JSON from its input, each a job: `folder`, `prompts` (lists of ids), `count`, and whether it runs `onHtp`,
the emulator of onnxruntime-qnn. Answers each with a line of a mark and a JSON object: `generations`, for each prompt the
`tokens`, and how far each is ahead of the next best in parts of the range of its logits (`leads`); or `error`.
"""
import json
import os
import sys

import onnxruntime

CAPI = os.path.join(os.path.dirname(onnxruntime.__file__), "capi")
MARK = "@@genai@@"
PROVIDER = "QNNExecutionProvider"


def main():
    libraries = [name for name in os.listdir(CAPI) if name.startswith("libonnxruntime.so")]
    os.environ["ORT_LIB_PATH"] = os.path.join(CAPI, libraries[0])
    registered = False
    for line in sys.stdin:
        job = json.loads(line)
        if job["onHtp"] and not registered:
            register()
            registered = True
        try:
            answer = {"generations": generate(job)}
        except Exception as error:  # whatever goes wrong is an answer
            answer = {"error": str(error)[:2000]}
        sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)


def register():
    import onnxruntime_genai
    import onnxruntime_qnn

    onnxruntime_genai.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())


def generate(job):
    import numpy
    import onnxruntime_genai

    model = onnxruntime_genai.Model(job["folder"])
    generations = []
    for prompt in job["prompts"]:
        settings = onnxruntime_genai.GeneratorParams(model)
        settings.set_search_options(do_sample=False)
        generator = onnxruntime_genai.Generator(model, settings)
        generator.append_tokens(numpy.array([prompt], dtype=numpy.int32))
        tokens, leads = [], []
        while len(tokens) < job["count"] and not generator.is_done():
            logits = numpy.sort(generator.get_logits().reshape(-1))
            leads.append(float((logits[-1] - logits[-2]) / (logits[-1] - logits[0])))
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        generations.append({"tokens": tokens, "leads": leads})
    return generations


main()
