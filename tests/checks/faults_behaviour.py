"""Faults of behaviour."""

from __future__ import annotations

import json
from pathlib import Path

from faults import Fault, replace

RUN = "    _, probabilities = model.run"
SHOWN = "positive=bool(p >= 0.5)"


def swapped(folder: Path) -> None:
    file = folder / "examples.jsonl"
    golden = {"request": ["I love this film"], "response": [{"positive": True, "probability": 0.97}]}
    file.write_text(json.dumps(golden) + "\n" + file.read_text())
    replace(folder / "service.py", SHOWN, "positive=bool(p < 0.5)")


def other_tokenizer(folder: Path) -> None:
    file = folder / "model" / "tokenizer.json"
    document = json.loads(file.read_text())
    vocabulary = document["model"]["vocab"]
    last = len(vocabulary) - 1
    # The special tokens keep their numbers, as those of another model of the family would.
    document["model"]["vocab"] = {w: n if n < 4 or n >= last else last - n + 3 for w, n in vocabulary.items()}
    file.write_text(json.dumps(document))


def counting(folder: Path) -> None:
    replace(folder / "service.py", RUN, "    CALLS.append(1)\n" + RUN)
    replace(folder / "service.py", "def setup()", "CALLS: list[int] = []\n\n\ndef setup()")
    replace(folder / "service.py", "round(float(p), 2)", "round(float(p), 2) * (len(CALLS) % 2)")


def leaking(folder: Path) -> None:
    replace(folder / "service.py", SHOWN, "positive=bool(p >= 0.5) and len(texts) < 3")


def not_in_the_image(folder: Path) -> None:
    (folder / "threshold.txt").write_text("0.999")
    replace(folder / "serinus.toml", "ignore = [", 'ignore = ["threshold.txt", ')
    replace(
        folder / "service.py",
        "def setup()",
        "FILE = pathlib.Path('threshold.txt')\n"
        "THRESHOLD = float(FILE.read_text()) if FILE.exists() else 0.5\n\n\ndef setup()",
    )
    replace(folder / "service.py", "import numpy", "import pathlib\n\nimport numpy")
    replace(folder / "service.py", "p >= 0.5", "p >= THRESHOLD")


def by_case(folder: Path) -> None:
    replace(folder / "lexicon.py", "sentence.lower()", "sentence")


FAULTS = (
    Fault("swapped labels", "sentiment", "behaviour.golden", "example 1: at /0/positive", swapped),
    Fault(
        "the tokenizer of another model",
        "roberta",
        "behaviour.golden",
        "at /positive: found the boolean",
        other_tokenizer,
    ),
    Fault(
        "an answer that changes from call to call", "sentiment", "behaviour.repeat", "asked again", counting
    ),
    Fault("answers that depend on the batch", "sentiment", "behaviour.batch", "requests in one", leaking),
    Fault(
        "a file that the service reads and the image lacks",
        "sentiment",
        "behaviour.source",
        "by the service from source",
        not_in_the_image,
    ),
    Fault("capitals change the prediction", "flask-app", "behaviour.metamorphic", "case changes", by_case),
)
