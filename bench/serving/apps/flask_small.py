"""The small model on Flask."""

import numpy
import onnxruntime
from flask import Flask, jsonify, request

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession("model.onnx", OPTIONS)
NAMES = ["label", "probabilities"]

app = Flask(__name__)
app.json.compact = True


@app.post("/predict")
def predict():
    found = request.get_json()["X"]
    label, probabilities = SESSION.run(NAMES, {"X": numpy.array(found, dtype=numpy.float32)})
    return jsonify(label=label.tolist(), probabilities=probabilities.tolist())
