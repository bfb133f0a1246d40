"""Questions to people, asked and answered from anywhere: the terminal, another process, the control API."""

from __future__ import annotations

from pathlib import Path

from serinus.errors import PipelineError
from serinus.models.lineage import user
from serinus.pipeline.plan import Outcome
from serinus.pipeline.record import Question, Record

YES, NO = "yes", "no"


def asked(root: Path, run: str | None = None) -> list[Question]:
    """The questions that wait for an answer, of one run or of the latest hundred.

    Args:
        root: the project's folder.
        run: its id.

    Raises:
        PipelineError: there is no such run.
    """
    record = Record(root)
    try:
        if run is not None:
            runs = [_known(record, run)]
        else:
            runs = [row.id for row in record.runs(limit=100) if row.outcome is not Outcome.DONE]
        return [question for name in runs for question in record.questions(name) if question.answer is None]
    finally:
        record.close()


def approve(
    root: Path, run: str, step: str, *, yes: bool = True, who: str = "", comment: str = ""
) -> Question:
    """Answer the question of a step.

    Args:
        root: the project's folder.
        run: the run's id.
        step: the step that asks.
        yes: False declines.
        who: answers; default the user of this process.
        comment: why, for those who look later.

    Returns:
        The question with its answer.

    Raises:
        PipelineError: nobody asks that, or somebody has answered.
    """
    record = Record(root)
    try:
        _known(record, run)
        questions = record.questions(run, step)
        waiting = next((one for one in questions if one.answer is None), None)
        if waiting is None:
            raise _nothing(record, run, step, questions)
        answer = YES if yes else NO
        if not record.answer(run, step, waiting.asked, answer=answer, who=who or user(), comment=comment):
            raise _nothing(record, run, step, record.questions(run, step))
        return next(one for one in record.questions(run, step) if one.asked == waiting.asked)
    finally:
        record.close()


def _known(record: Record, run: str) -> str:
    if record.run(run) is None:
        latest = ", ".join(row.id for row in record.runs(limit=5)) or "none"
        raise PipelineError(f"there is no run {run!r}; the latest are {latest}", "`serinus runs` lists them.")
    return run


def _nothing(record: Record, run: str, step: str, questions: list[Question]) -> PipelineError:
    if questions:
        last = questions[-1]
        told = f"{last.who} has answered {last.answer} to {step} of {run}"
        return PipelineError(told, f"`serinus runs show {run}` has the history.")
    waiting = [one.step for one in record.questions(run) if one.answer is None]
    steps = [row.step for row in record.steps(run)]
    if step not in steps:
        told = f"{run} has no step {step!r}; it has {', '.join(steps)}"
    else:
        told = f"{step} of {run} asks nothing now"
    return PipelineError(told, f"These ask: {', '.join(waiting)}." if waiting else "Nothing of it asks now.")
