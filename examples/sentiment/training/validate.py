"""Look at the data before anything is learned from it: build/data.json has what was found.

Each rule stands for a way in which a training set goes wrong without an error: a half download, labels that
were turned round or lost, sentences to learn from that are asked about afterwards.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

SENTENCES, FOUND = Path("build/sentences.jsonl"), Path("build/data.json")


def main() -> None:
    rows = [json.loads(line) for line in SENTENCES.read_text().splitlines()]
    found = look(rows)
    if faults := wrong(found):
        raise SystemExit(f"{SENTENCES} is not to be learned from:\n" + "\n".join(faults))
    FOUND.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


def look(rows: list[dict]) -> dict[str, float]:
    """What matters of the data, as numbers."""
    learned = {row["text"] for row in rows if not row["held_out"]}
    held_out = {row["text"] for row in rows if row["held_out"]}
    sources = Counter(row["source"] for row in rows)
    return {
        "sentences": len(rows),
        "held_out": sum(row["held_out"] for row in rows),
        "positive": round(sum(row["positive"] for row in rows) / max(len(rows), 1), 3),
        "rarest_source": min(sources.values(), default=0),
        "empty": sum(not row["text"].strip() for row in rows),
        "in_both": len(learned & held_out),
    }


def wrong(found: dict[str, float]) -> list[str]:
    """What must not be, in words."""
    rules = {
        f"{found['sentences']} sentences; expected 10,000 and more": found["sentences"] < 10_000,
        f"{found['held_out']} held out; expected 1,000 and more": found["held_out"] < 1_000,
        f"{found['positive']:.0%} are positive; expected 40 to 60 %": not 0.4 <= found["positive"] <= 0.6,
        f"{found['rarest_source']} of the rarest source; expected 1,000": found["rarest_source"] < 1_000,
        f"{found['empty']} are empty": found["empty"] > 0,
        f"{found['in_both']} are both learned from and held out": found["in_both"] > 0,
    }
    return [fault for fault, holds in rules.items() if holds]


if __name__ == "__main__":
    main()
