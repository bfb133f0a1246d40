"""The metrics: labels and predictions -> a number. Pure, but for the import of a project's own."""

from __future__ import annotations

import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.checks import Failed, Finding
from serinus.checks.quality.scores import Row, text
from serinus.checks.quality.statistics import needed

Compute = Callable[[Any, Any], float]
"""Labels and predictions, arrays of one length -> the value."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: how rows become arrays, and arrays a number."""

    name: str
    compute: Compute
    encode: Callable[[Sequence[Row]], tuple[Any, Any]]
    """Rows -> labels and predictions."""
    higher: bool = True
    """Whether higher is better."""

    def of(self, rows: Sequence[Row]) -> float:
        """Its value over rows; not-a-number where it has none: ``auc`` of rows of one label."""
        return self.compute(*self.encode(rows))

    def holds(self, value: float, bound: float) -> bool:
        """Whether a value is at least as good as a bound; not-a-number never is."""
        return value >= bound if self.higher else value <= bound

    @property
    def side(self) -> str:
        """How its floor is said."""
        return "at least" if self.higher else "at most"


def metric(name: str, root: Path) -> Metric:
    """A metric by its name in the project file.

    Args:
        name: ``accuracy``, ``f1``, ``auc``, ``rmse`` or ``module:function``.
        root: the project's folder, where the module is.

    Raises:
        Failed: the project has no such function.
    """
    match name:
        case "accuracy":
            return Metric(name, _accuracy, _labels)
        case "f1":
            return Metric("f1 (macro)", f1, _labels)
        case "auc":
            return Metric(name, auc, _ranks)
        case "rmse":
            return Metric(name, rmse, _numbers, higher=False)
    return Metric(name, _checked(name, _own(name, root), root), _objects)


def _accuracy(labels: Any, predictions: Any) -> float:
    return float((labels == predictions).mean())


def f1(labels: Any, predictions: Any) -> float:
    """The mean over the labels of F1 = 2 TP / (2 TP + FP + FN); what is no label counts nowhere.

    Args:
        labels: numbers of the labels from 0.
        predictions: likewise; -1 is a prediction that is no label.
    """
    numpy = needed("numpy")
    count = int(labels.max()) + 1
    true = numpy.bincount(labels, minlength=count)
    said = numpy.bincount(predictions[(predictions >= 0) & (predictions < count)], minlength=count)
    both = numpy.bincount(labels[labels == predictions], minlength=count)
    present = true > 0
    return float((2 * both[present] / (true + said)[present]).mean())


def auc(labels: Any, scores: Any) -> float:
    """The area under the ROC curve: the chance that a positive row ranks above a negative one, ties half.

    By ranks (Hanley and McNeil, Radiology 143, 1982).

    Args:
        labels: booleans.
        scores: numbers.
    """
    positive = int(labels.sum())
    negative = len(labels) - positive
    if not positive or not negative:
        return math.nan
    ranks = needed("scipy.stats").rankdata(scores)
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def rmse(labels: Any, predictions: Any) -> float:
    """The root of the mean squared difference."""
    return float(((labels - predictions) ** 2).mean() ** 0.5)


def _labels(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Labels as numbers; a prediction that is no label, or that is missing, is -1."""
    numpy = needed("numpy")
    numbers = {key: number for number, key in enumerate(sorted({text(row.label) for row in rows}))}
    labels = numpy.array([numbers[text(row.label)] for row in rows], dtype=numpy.int64)
    predictions = numpy.array([numbers.get(row.key, -1) for row in rows], dtype=numpy.int64)
    return labels, predictions


def _ranks(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Labels as booleans and scores; a missing score ranks as wrong as can be."""
    numpy = needed("numpy")
    for row in rows:
        if row.label not in (0, 1):
            told = f"the label is {text(row.label)[:80]}, expected true or false (or 1 or 0) for auc"
            _refuse(row, told, "Correct the label, or checks.quality.metric.")
    labels = numpy.array([bool(row.label) for row in rows])
    scores = [
        (-math.inf if row.label else math.inf) if row.fault else _predicted(row, "the score of this row")
        for row in rows
    ]
    return labels, numpy.array(scores)


def _numbers(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Labels and predictions as numbers; a missing prediction is infinitely wrong."""
    numpy = needed("numpy")
    labels = [_number(row, row.label, "the label", "Correct it, or checks.quality.metric.") for row in rows]
    predictions = [math.inf if row.fault else _predicted(row, "the prediction of this row") for row in rows]
    return numpy.array(labels), numpy.array(predictions)


def _objects(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Labels and predictions as they are; a missing prediction is None."""
    numpy = needed("numpy")
    labels, predictions = numpy.empty(len(rows), dtype=object), numpy.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):
        labels[place], predictions[place] = row.label, None if row.fault else row.prediction
    return labels, predictions


def _predicted(row: Row, what: str) -> float:
    todo = "Point checks.prediction (for auc checks.quality.score) to a number, or set checks.quality.metric."
    return _number(row, row.prediction, what, todo)


def _number(row: Row, value: Any, what: str, todo: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(row, f"{what} is {text(value)[:80]}, expected a number", todo)
    return float(value)


def _refuse(row: Row, message: str, todo: str) -> None:
    raise Failed(Finding(message, todo, row.file, row.line))


def _file(name: str, root: Path) -> Path:
    return root / f"{name.partition(':')[0].replace('.', '/')}.py"


def _own(name: str, root: Path) -> Callable[..., Any]:
    """The project's own function."""
    module, _, attribute = name.partition(":")
    file = _file(name, root)
    todo = "Correct checks.quality.metric, or write the function."
    named = str(file.relative_to(root))
    spec = importlib.util.spec_from_file_location(f"serinus_metric_{module}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise Failed(Finding(f"checks.quality.metric is {name}, and there is no file {named}", todo, named))
    loaded = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(root))
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        told = f"{named} cannot be imported: {type(error).__name__}: {error}"
        todo = "Correct it, or install what it needs beside Serinus."
        raise Failed(Finding(told, todo, named, _line(error, file))) from error
    finally:
        sys.path.remove(str(root))
    found = getattr(loaded, attribute, None)
    if not callable(found):
        raise Failed(Finding(f"{named} has no function {attribute!r}", todo, named))
    own: Callable[..., Any] = found
    return own


def _line(error: BaseException, file: Path) -> int | None:
    """The line of a file that raised an error, or that is no Python; None where it had no part in it."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return lines[-1] if lines else None


def _checked(name: str, own: Callable[..., Any], root: Path) -> Compute:
    """The function as a metric: called with lists, and held to give a number."""
    file = _file(name, root)

    def compute(labels: Any, predictions: Any) -> float:
        try:
            return float(own(labels.tolist(), predictions.tolist()))
        except Exception as error:
            raise Failed(
                Finding(
                    f"the metric {name} raised {type(error).__name__}: {error}",
                    "It takes a list of labels and one of predictions, None where a row was not answered, "
                    "and gives a number.",
                    str(file.relative_to(root)),
                    _line(error, file),
                )
            ) from error

    return compute
