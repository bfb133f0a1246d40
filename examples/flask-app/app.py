"""A small web app that says whether sentences sound glad. It knows nothing of Serinus."""

from flask import Flask, jsonify, request
from lexicon import score

app = Flask(__name__)
app.json.compact = True


@app.get("/")
def about():
    return "POST a JSON list of sentences to /predict.\n", {"content-type": "text/plain; charset=utf-8"}


@app.post("/predict")
def predict():
    sentences = request.get_json()
    return jsonify(positive=sum(map(score, sentences)) >= 1)
