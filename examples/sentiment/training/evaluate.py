"""Ask the model about the sentences that were held out.

Writes the metrics (build/evaluation.json), a plot of how sure it is where it is right and where it is wrong
(build/certainty.svg), and the sentences with their labels for `serinus check` (labelled.jsonl).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

SENTENCES, MODEL = Path("build/sentences.jsonl"), Path("model.onnx")
METRICS, PLOT, LABELLED = Path("build/evaluation.json"), Path("build/certainty.svg"), Path("labelled.jsonl")
BINS = 10


def main() -> None:
    rows = [json.loads(line) for line in SENTENCES.read_text().splitlines()]
    rows = [row for row in rows if row["held_out"]]
    session = ort.InferenceSession(MODEL)
    _, probabilities = session.run(None, {"text": np.array([row["text"] for row in rows], dtype=object)})
    sure = probabilities[:, 1]
    right = (sure >= 0.5) == np.array([row["positive"] for row in rows])
    found = metrics(rows, right)
    METRICS.write_text(json.dumps(found, indent=1) + "\n")
    PLOT.write_text(plot(np.abs(sure - 0.5) * 2, right))
    LABELLED.write_text("".join(json.dumps(labelled(row)) + "\n" for row in rows))
    print(json.dumps(found))


def labelled(row: dict) -> dict:
    """A sentence as `serinus check` reads it."""
    return {"request": [row["text"]], "label": row["positive"], "slice": {"source": row["source"]}}


def metrics(rows: list[dict], right: np.ndarray) -> dict[str, float]:
    """Accuracy over all, and for each source."""
    found = {"accuracy": right.mean()}
    for source in sorted({row["source"] for row in rows}):
        found[f"accuracy_{source}"] = right[[row["source"] == source for row in rows]].mean()
    return {name: round(float(value), 4) for name, value in found.items()}


def plot(certainty: np.ndarray, right: np.ndarray) -> str:
    """Two bars for each tenth of certainty: right answers above the line, wrong ones below."""
    edges = np.linspace(0, 1, BINS + 1)
    above, below = np.histogram(certainty[right], edges)[0], np.histogram(certainty[~right], edges)[0]
    most = max(above.max(), below.max(), 1)
    bars = []
    for place, (up, down) in enumerate(zip(100 * above / most, 100 * below / most, strict=True)):
        x = 20 + place * 36
        bars.append(f'<rect x="{x}" y="{120 - up:.1f}" width="30" height="{up:.1f}" fill="#2a7d4f"/>')
        bars.append(f'<rect x="{x}" y="120" width="30" height="{down:.1f}" fill="#b3412e"/>')
        bars.append(f'<text x="{x + 15}" y="240" text-anchor="middle">{edges[place]:.1f}</text>')
    title = '<text x="20" y="14">right (above) and wrong (below), by how sure it is</text>'
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="250" font-size="11">'
    return "\n".join([head, title, *bars, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
