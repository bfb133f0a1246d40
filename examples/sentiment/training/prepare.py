"""Fetch the data and write it as one sentence a line: build/sentences.jsonl.

Sentences of film and product reviews, each rated by people from -4 (bad) to 4 (good): C. J. Hutto and
E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014;
published under the MIT licence in the source distribution of vaderSentiment 3.3.2. It is fetched once and
kept in `.cache`; its digest is checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

DISTRIBUTION = "vaderSentiment==3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
TABLES = {
    "product": "amazonReviewSnippets_GroundTruth.txt",
    "film": "movieReviewSnippets_GroundTruth.txt",
}
KEPT = Path(".cache/vaderSentiment-3.3.2.tar.gz")
SENTENCES = Path("build/sentences.jsonl")


def main() -> None:
    rows = list(sentences())
    SENTENCES.parent.mkdir(exist_ok=True)
    SENTENCES.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} sentences")


def fetch() -> bytes:
    """The source distribution, from the package index that pip is set up for, or from the last time."""
    if not KEPT.is_file() or hashlib.sha256(KEPT.read_bytes()).hexdigest() != SHA256:
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*pip, "--dest", folder, DISTRIBUTION], check=True)
            data = next(Path(folder).iterdir()).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != SHA256:
            raise SystemExit(f"{DISTRIBUTION}: expected sha256 {SHA256}, found {found}")
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_bytes(data)
    return KEPT.read_bytes()


def sentences() -> Iterator[dict[str, object]]:
    """Every sentence that people agreed to be good or bad: |mean rating| of 0.5 and more.

    One in ten is held out, chosen by a digest of the text: the same ones on every machine.
    """
    with tarfile.open(fileobj=io.BytesIO(_member(fetch(), ARCHIVE)), mode="r:gz") as archive:
        for source, table in TABLES.items():
            lines = archive.extractfile(f"hutto_ICWSM_2014/{table}").read().decode("utf-8", "replace")
            for row in (line.split("\t", 2) for line in lines.splitlines() if line.count("\t") >= 2):
                rating, text = float(row[1]), row[2]
                if abs(rating) >= 0.5:
                    chosen = hashlib.sha256(text.encode()).digest()[0] < 26
                    yield {"text": text, "positive": rating > 0, "source": source, "held_out": chosen}


def _member(archive: bytes, suffix: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        name = next(name for name in tar.getnames() if name.endswith(suffix))
        return tar.extractfile(name).read()


if __name__ == "__main__":
    main()
