"""Copy the model's files into the project: `python fetch.py [FOLDER]`.

FOLDER holds model.int8.onnx and tokenizer.json. Without it they are looked for in
$SERINUS_SHARED/models/roberta-sentiment, or in that folder of a `shared` beside the checkout.

The sentences that the model has not seen become labelled.jsonl; they are those of the split `test` of
data/sentiment.jsonl beside the folder `models`, which has an object a line with `text`, `positive`, `source`
and `split`.
"""

import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = ("model.int8.onnx", "tokenizer.json")


def source(arguments: list[str]) -> Path:
    if arguments:
        return Path(arguments[0])
    shared = os.environ.get("SERINUS_SHARED")
    return (Path(shared) if shared else HERE.parents[2] / "shared") / "models" / "roberta-sentiment"


def fetch(folder: Path, target: Path) -> None:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        sys.exit(
            f"{folder} has no {' and no '.join(missing)}; name the folder that has: python fetch.py FOLDER"
        )
    target.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(folder / name, target / name)


def label(data: Path, target: Path) -> int:
    """Write the sentences of the split `test` as labelled data; how many there are."""
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    kept = [
        {"request": [row["text"]], "label": row["positive"], "slice": {"source": row["source"]}}
        for row in rows
        if row["split"] == "test"
    ]
    target.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")
    return len(kept)


if __name__ == "__main__":
    folder = source(sys.argv[1:]).resolve()
    fetch(folder, HERE / "model")
    print(f"model/ has {' and '.join(FILES)}")
    data = folder.parents[1] / "data" / "sentiment.jsonl"
    if data.is_file():
        print(f"labelled.jsonl has {label(data, HERE / 'labelled.jsonl')} sentences")
    else:
        print(f"there is no {data}: no labelled.jsonl was written, and the checks of quality have no data")
