"""The small model on FastAPI."""

import numpy
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession("model.onnx", OPTIONS)
NAMES = ["label", "probabilities"]

app = FastAPI()


class Request(BaseModel):
    X: list[list[float]]


class Answer(BaseModel):
    label: list[int]
    probabilities: list[list[float]]


@app.post("/predict")
async def predict(request: Request) -> Answer:
    label, probabilities = SESSION.run(NAMES, {"X": numpy.array(request.X, dtype=numpy.float32)})
    return Answer(label=label.tolist(), probabilities=probabilities.tolist())
