"""Copy the model's files into the project: `python fetch.py [FOLDER]`.

FOLDER holds model.int8.onnx and tokenizer.json. Without it they are looked for in
$SERINUS_SHARED/models/roberta-sentiment, or in that folder of a `shared` beside the checkout.
"""

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


if __name__ == "__main__":
    fetch(source(sys.argv[1:]), HERE / "model")
    print(f"model/ has {' and '.join(FILES)}")
