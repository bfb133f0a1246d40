"""The timeline of a parallel run: which job ran when, in which lane, and what the end waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from serinus.checks import Status
from serinus.checks.formats.markup import tag
from serinus.checks.formats.scale import linear
from serinus.checks.formats.text import duration
from serinus.checks.report import Report, Span

WIDTH, LANE, LEFT, RIGHT, TOP, BOTTOM = 1000.0, 26.0, 84.0, 12.0, 6.0, 34.0
_LETTER = 6.4
"""Width of a letter of the labels, about."""
_SOON = 0.05
"""Seconds within which one job's end counts as the reason of another's beginning."""


def critical(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The chain of jobs that the end of the run waited for, in order.

    Going back from the job that ended last: what each waited for is the last of the jobs that it needs; or,
    when that had long been done, the job before it in its lane.
    """
    chain: list[Span] = []
    at = max(spans, key=lambda span: span.begin + span.seconds, default=None)
    while at is not None and at not in chain:
        chain.append(at)
        at = _waited_for(at, [span for span in spans if span not in chain])
    return tuple(reversed(chain))


def _waited_for(job: Span, others: Sequence[Span]) -> Span | None:
    def end(span: Span) -> float:
        return span.begin + span.seconds

    need = max((span for span in others if span.name in job.needs), key=end, default=None)
    if need is not None and job.begin - end(need) <= _SOON:
        return need
    in_lane = (s for s in others if s.lane == job.lane and abs(job.begin - end(s)) <= _SOON)
    return max(in_lane, key=end, default=need)


def timeline(report: Report) -> Element:
    """The picture: a row each lane, a bar each job, the critical path outlined; hovering tells more."""
    lanes = sorted({span.lane for span in report.spans})
    end = max((span.begin + span.seconds for span in report.spans), default=0.0) or 1.0
    height = TOP + LANE * len(lanes) + BOTTOM
    scale = linear(0.0, end, LEFT, WIDTH - RIGHT)
    statuses = {verdict.check: verdict.status for verdict in report.verdicts}
    path = {span.name for span in critical(report.spans)}
    picture = tag(
        "svg",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        class_="timeline",
        role="img",
        aria_label="When each job ran",
    )
    bottom = height - BOTTOM
    for tick in scale.ticks:
        x = scale(tick)
        if x <= WIDTH - RIGHT:
            picture.append(tag("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="grid"))
            picture.append(
                tag("text", f"{tick:g} s", x=x, y=bottom + 18, class_="tick", text_anchor="middle")
            )
    for row, lane in enumerate(lanes):
        y = TOP + row * LANE
        name = "measuring" if lane == 0 else f"lane {lane}"
        picture.append(tag("text", name, x=LEFT - 8, y=y + 17, class_="tick", text_anchor="end"))
        for span in report.spans:
            if span.lane == lane:
                left, right = scale(span.begin), scale(span.begin + span.seconds)
                picture.append(_bar(span, left, max(right - left, 1.5), y + 3, statuses, span.name in path))
    return picture


def _bar(
    span: Span, x: float, width: float, y: float, statuses: Mapping[str, Status], on_path: bool
) -> Element:
    status = statuses.get(span.name)
    kind = "made" if status is None else status.value.replace(" ", "-")
    title = f"{span.name}: {duration(span.seconds)}, from {duration(span.begin)}"
    title += f"\n{span.title}" + (f"\n{status.value}" if status else "")
    letters = int((width - 8) / _LETTER)
    label = span.name if len(span.name) <= letters else f"{span.name[: letters - 1]}…" if letters > 4 else ""
    return tag(
        "g",
        tag("title", title),
        tag(
            "rect",
            x=x,
            y=y,
            width=width,
            height=LANE - 6,
            rx=3,
            class_=f"bar {kind}{' path' if on_path else ''}",
        ),
        tag("text", label, x=x + 5, y=y + 14, class_="label") if label else None,
    )
