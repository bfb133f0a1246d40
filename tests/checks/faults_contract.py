"""Faults of the contract."""

from __future__ import annotations

import json
from pathlib import Path

from faults import Fault, replace

JSONIFY = "return jsonify(positive=sum(map(score, sentences)) >= 1)"
SUM = "sum(map(score, sentences))"


def text_for_boolean(folder: Path) -> None:
    replace(folder / "app.py", JSONIFY, f"return jsonify(positive=str({SUM} >= 1).lower())")


def number_for_boolean(folder: Path) -> None:
    replace(folder / "app.py", JSONIFY, f"return jsonify(positive=int({SUM} >= 1))")


def not_a_number(folder: Path) -> None:
    replace(folder / "app.py", JSONIFY, f'return jsonify(positive={SUM} >= 1, score=float("nan"))')
    schema = folder / "response.json"
    replace(schema, '"additionalProperties": false', '"additionalProperties": true')


def renamed(folder: Path) -> None:
    replace(folder / "app.py", JSONIFY, f"return jsonify(is_positive={SUM} >= 1)")


def crash(folder: Path) -> None:
    replace(
        folder / "service.py",
        "    _, probabilities",
        '    texts = [text.encode("ascii").decode() for text in texts]\n    _, probabilities',
    )


def breaking(folder: Path) -> None:
    replace(folder / "app.py", JSONIFY, f'return jsonify(mood="glad" if {SUM} >= 1 else "sad")')
    replace(folder / "response.json", '"positive": {"type": "boolean"}', '"mood": {"type": "string"}')
    replace(folder / "response.json", '["positive"]', '["mood"]')
    rows = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({"request": row["request"]}) + "\n" for row in rows)
    (folder / "examples.jsonl").write_text(text)


RELEASE = '''"""A later onnxruntime, as far as this service meets it: inputs have another name."""


class InferenceSession:
    def __init__(self, path, *options, **others): ...

    def run(self, names, feed):
        missing = {"input"} - set(feed)
        if missing:
            raise ValueError(f"Required inputs {sorted(missing)} are missing from {list(feed)}.")
'''


def later_release(folder: Path) -> None:
    """Bring a later release of onnxruntime into reach, and forget what was pinned."""
    import zipfile

    name = "onnxruntime-99.0"
    files = {
        "onnxruntime/__init__.py": RELEASE,
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: onnxruntime\nVersion: 99.0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{name}.dist-info/RECORD"))
    (folder / "wheels").mkdir()
    with zipfile.ZipFile(folder / "wheels" / f"{name}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{name}.dist-info/RECORD": record}).items():
            wheel.writestr(path, text)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"--find-links {folder / 'wheels'}\n{requirements.read_text()}")
    (folder / "serinus.lock").unlink()
    replace(folder / "serinus.toml", "ignore = [", 'ignore = ["wheels/", ')


FAULTS = (
    Fault(
        "`onnxruntime` unpinned, and moved to a release that changes its inputs",
        "sentiment",
        "contract.examples",
        "Required inputs",
        later_release,
    ),
    Fault(
        'the text `"false"` for the boolean `false`',
        "flask-app",
        "contract.types",
        'at /positive: found the string "false", expected a boolean',
        text_for_boolean,
    ),
    Fault(
        "the number `1` for the boolean `true`",
        "flask-app",
        "contract.types",
        "at /positive: found the number 1, expected a boolean",
        number_for_boolean,
    ),
    Fault("NaN in an answer", "flask-app", "contract.types", "at /score: found NaN", not_a_number),
    Fault(
        "a renamed member of the answer",
        "flask-app",
        "contract.examples",
        "at /positive: the member is missing",
        renamed,
    ),
    Fault(
        "a text with letters outside ASCII makes the service crash",
        "sentiment",
        "contract.generated",
        "the status 500",
        crash,
    ),
    Fault(
        "a renamed member without a new major version",
        "flask-app",
        "contract.compatible",
        "response at /positive",
        breaking,
        against=True,
    ),
)
