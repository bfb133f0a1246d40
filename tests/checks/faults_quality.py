"""Faults in how good the predictions are."""

from __future__ import annotations

from pathlib import Path

from faults import Fault, append, replace


def _no_answers(folder: Path) -> None:
    """Examples without responses: the rehearsal before readiness cannot know that anything is wrong."""
    (folder / "examples.jsonl").write_text('{"request": ["A long film."]}\n')


def _swapped(folder: Path) -> None:
    _no_answers(folder)
    replace(folder / "service.py", "positive=bool(p >= 0.5)", "positive=bool(p < 0.5)")


def _one_slice(folder: Path) -> None:
    """The answers to texts that begin small, as many of those about products do, are turned round."""
    _no_answers(folder)
    replace(
        folder / "service.py",
        "positive=bool(p >= 0.5), probability=round(float(p), 2)) for p in probabilities[:, 1]]",
        "positive=bool((p >= 0.5) != (t[:1].islower() and len(t) % 4 == 0)), probability=round(float(p), 2))"
        " for p, t in zip(probabilities[:, 1], texts)]",
    )


def _a_little(folder: Path) -> None:
    _no_answers(folder)
    replace(folder / "service.py", "bool(p >= 0.5)", "bool(p >= 0.8)")


def _own_metric(folder: Path) -> None:
    (folder / "cost.py").write_text(
        '"""What mistakes cost."""\n\n\n'
        "def saved(labels, predictions):\n"
        '    """1 less the share of sad sentences that are called glad."""\n'
        "    sad = [p for label, p in zip(labels, predictions) if not label]\n"
        "    return 1 - sum(sad) / len(sad)\n"
    )
    replace(
        folder / "serinus.toml",
        "[checks.quality]\nfloor = 0.85 ",
        '[checks.quality]\nmetric = "cost:saved"\nfloor = 0.99',
    )


FAULTS = (
    Fault("labels swapped", "sentiment", "quality.floor", "expected at least 0.78", _swapped),
    Fault(
        "a metric of the project's own below its floor",
        "flask-app",
        "quality.floor",
        "cost:saved is 0.9",
        _own_metric,
    ),
    Fault(
        "a labelled file with a broken line",
        "flask-app",
        "quality.floor",
        "labelled.jsonl:49",
        lambda folder: append(folder / "labelled.jsonl", '{"request": ["cut o\n'),
    ),
    Fault(
        "a model a little worse everywhere",
        "sentiment",
        "quality.against",
        "worse than the version in charge",
        _a_little,
        against=True,
    ),
    Fault(
        "a model worse on one slice only",
        "sentiment",
        "quality.slices",
        "source: product got worse",
        _one_slice,
        against=True,
    ),
    Fault(
        "a slice below its floor",
        "sentiment",
        "quality.slice-floor",
        "accuracy of source: product is 0.",
        _one_slice,
    ),
)
