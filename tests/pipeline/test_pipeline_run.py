"""Runs: in parallel, cached, gone on with, stopped; outputs that appear all or not at all."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from pipeline_projects import (
    Ran,
    pipeline_of,
    processes_of,
    project_in,
    python,
    ran,
    serinus,
    sh,
    started,
    wait_for,
    written,
)

from serinus.errors import PipelineError
from serinus.pipeline import Approval, Parameter, Pipeline, Step
from serinus.pipeline.approvals import approve, asked
from serinus.pipeline.history import show
from serinus.pipeline.moments import Asked, Began, Hint, Said
from serinus.pipeline.plan import Outcome
from serinus.pipeline.preview import preview
from serinus.project import Project

COPY = "mkdir -p build; cat {} > build/{}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = project_in(tmp_path / "project")
    (found.root / "data.txt").write_text("data")
    return found


def chain(*, retries: int = 0) -> Pipeline:
    """prepare -> train -> evaluate, each a copy with its parameter."""
    return pipeline_of(
        python(
            "prepare",
            "open('a.txt', 'w').write(open('data.txt').read())",
            inputs=("data.txt",),
            outputs=("a.txt",),
        ),
        python(
            "train",
            "open('b.txt', 'w').write(open('a.txt').read() + '{epochs}')",
            inputs=("a.txt",),
            outputs=("b.txt",),
            retries=retries,
        ),
        python(
            "evaluate",
            "open('c.txt', 'w').write(open('b.txt').read())",
            inputs=("b.txt",),
            outputs=("c.txt",),
        ),
        parameters=[Parameter("epochs", 3, "int")],
    )


def test_what_is_unchanged_is_not_run_again(project: Project) -> None:
    assert Ran(project, chain()).states == {"prepare": "done", "train": "done", "evaluate": "done"}
    assert Ran(project, chain()).states == {"prepare": "cached", "train": "cached", "evaluate": "cached"}
    changed = Ran(project, chain(), {"epochs": "4"})
    assert changed.states == {"prepare": "cached", "train": "done", "evaluate": "done"}
    assert next(m.why for m in changed.moments if isinstance(m, Began)) == "epochs 3 -> 4"
    assert (project.root / "c.txt").read_text() == "data4"
    back = Ran(project, chain(), {"epochs": 3})
    assert set(back.states.values()) == {"cached"}
    assert (project.root / "c.txt").read_text() == "data3"
    assert ran(project.root) == ["prepare", "train", "evaluate", "train", "evaluate"]


def test_the_same_output_of_another_input_ends_the_change_there(project: Project) -> None:
    pipeline = pipeline_of(
        sh("clean", "tr -d ' ' < data.txt > a.txt", inputs=("data.txt",), outputs=("a.txt",)),
        sh("use", "cp a.txt b.txt", inputs=("a.txt",), outputs=("b.txt",)),
    )
    Ran(project, pipeline)
    (project.root / "data.txt").write_text("d a t a")
    assert Ran(project, pipeline).states == {"clean": "done", "use": "cached"}


def test_what_changed_while_a_step_ran_has_it_run_again(project: Project) -> None:
    meanwhile = sh("slow", "cat data.txt > out; echo new > data.txt", inputs=("data.txt",), outputs=("out",))
    first = Ran(project, pipeline_of(meanwhile))
    assert first.states == {"slow": "done"}
    assert any("was changed while it ran" in m.text for m in first.moments if isinstance(m, Hint))
    (project.root / "data.txt").write_text("data")
    assert Ran(project, pipeline_of(meanwhile)).states == {"slow": "done"}


def test_a_lock_file_counts_for_every_step(project: Project) -> None:
    Ran(project, chain())
    (project.root / "serinus.lock").write_text("# a lock")
    assert set(Ran(project, chain()).states.values()) == {"done"}


def test_outputs_that_were_removed_or_changed_are_put_back(project: Project) -> None:
    Ran(project, chain())
    (project.root / "a.txt").unlink()
    (project.root / "b.txt").write_text("changed by hand")
    again = Ran(project, chain())
    assert set(again.states.values()) == {"cached"}
    assert (project.root / "b.txt").read_text() == "data3"
    [hint] = [m.text for m in again.moments if isinstance(m, Hint)]
    assert (
        hint == "b.txt was made or changed by somebody else: it is set aside as "
        ".serinus/runs/tiny-2/replaced/b.txt"
    )
    assert (project.root / f".serinus/runs/{again.result.id}/replaced/b.txt").read_text() == "changed by hand"


def test_who_changes_an_output_in_place_does_not_change_what_is_kept(project: Project) -> None:
    Ran(project, chain())
    with (project.root / "b.txt").open("r+") as file:
        file.write("X")
    Ran(project, chain())
    assert (project.root / "b.txt").read_text() == "data3"


def test_what_is_kept_and_damaged_is_made_anew(project: Project) -> None:
    Ran(project, chain())
    for kept in (project.root / ".serinus/pipeline/store/objects").rglob("*"):
        if kept.is_file():
            kept.chmod(0o644)
            kept.write_text("damaged")
    (project.root / "b.txt").unlink()
    assert Ran(project, chain()).states == {"prepare": "cached", "train": "done", "evaluate": "cached"}
    assert (project.root / "b.txt").read_text() == "data3"


def test_folders_links_and_modes_are_put_back_as_they_were(project: Project) -> None:
    script = "mkdir -p out/deep out/empty; echo x > out/deep/x; chmod 755 out/deep/x; ln -s deep/x out/link"
    pipeline = pipeline_of(sh("make", script, outputs=("out",)))
    Ran(project, pipeline)
    out = project.root / "out"
    for path in (out / "deep/x", out / "link"):
        path.unlink()
    assert Ran(project, pipeline).states == {"make": "cached"}
    assert (out / "link").readlink() == Path("deep/x")
    assert (out / "link").read_text() == "x\n"
    assert os.access(out / "deep/x", os.X_OK)
    assert (out / "empty").is_dir()


def test_force_from_and_only(project: Project) -> None:
    Ran(project, chain())
    assert set(Ran(project, chain(), force=True).states.values()) == {"done"}
    assert Ran(project, chain(), start="train").states == {
        "prepare": "cached",
        "train": "done",
        "evaluate": "done",
    }
    assert Ran(project, chain(), only=("train",)).states == {
        "prepare": "left",
        "train": "cached",
        "evaluate": "left",
    }
    only = Ran(project, chain(), only=("train",), force=True)
    assert only.states == {"prepare": "left", "train": "done", "evaluate": "left"}
    with pytest.raises(PipelineError, match="has no step 'trian'; did you mean train"):
        Ran(project, chain(), only=("trian",))


def test_a_step_that_fails_blocks_those_behind_it_and_no_others(project: Project) -> None:
    pipeline = pipeline_of(
        sh("bad", "mkdir out; echo half > out/x; exit 3", outputs=("out",)),
        sh("behind", "true", needs=("bad",)),
        sh("beside", "sleep 0.2; echo hello"),
        sh("after", "true", needs=("beside",)),
    )
    run = Ran(project, pipeline)
    assert run.result.outcome is Outcome.FAILED
    assert run.states == {"bad": "failed", "behind": "blocked", "beside": "done", "after": "done"}
    assert run.reason("bad") == "it ended with exit code 3"
    assert run.reason("behind") == "bad failed"
    assert not (project.root / "out").exists(), "what a failed step made is removed"
    fast = Ran(project, pipeline, fail_fast=True, jobs=1)
    assert fast.states == {"bad": "failed", "behind": "blocked", "beside": "blocked", "after": "blocked"}


def test_an_output_that_was_not_made_is_a_failure(project: Project) -> None:
    run = Ran(project, pipeline_of(sh("make", "echo x > a", outputs=("a", "b"))))
    assert run.reason("make") == "it ended well, but the output b is not there"
    assert not (project.root / "a").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("nosuchprogram",), "there is no program 'nosuchprogram'"),
        (("./data.txt",), "'./data.txt' cannot be started: Permission denied"),
        (("sh", "-c", "kill -9 $$"), "it was ended by SIGKILL"),
    ],
)
def test_what_cannot_be_started_or_is_ended_is_told(
    project: Project, command: tuple[str, ...], told: str
) -> None:
    assert Ran(project, pipeline_of(Step("x", command))).reason("x") == told


def test_a_step_is_tried_again(project: Project) -> None:
    script = "n=$(cat ../n 2>/dev/null || echo 0); echo $((n + 1)) > ../n; test $n = 2 && echo x > out"
    run = Ran(project, pipeline_of(sh("flaky", script, outputs=("out",), retries=3)))
    [step] = run.result.steps
    assert (step.state.value, step.attempts) == ("done", 3)
    assert [m.attempt for m in run.moments if isinstance(m, Began)] == [1, 2, 3]
    (project.root.parent / "n").unlink()
    few = Ran(project, pipeline_of(sh("flaky", script, outputs=("out",), retries=1)), force=True)
    assert (few.result.steps[0].state.value, few.result.steps[0].attempts) == ("failed", 2)


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(project: Project) -> None:
    pipeline = pipeline_of(sh("slow", "trap '' TERM; sleep 60 & sleep 60", timeout=0.3))
    begin = time.monotonic()
    run = Ran(project, pipeline, grace=0.3)
    assert run.reason("slow") == "it took longer than 0.3 s"
    assert time.monotonic() - begin < 10
    assert processes_of(project.root) == []


def test_what_a_step_leaves_running_is_ended(project: Project) -> None:
    begin = time.monotonic()
    assert Ran(project, pipeline_of(sh("leaves", "sleep 60 & echo started"))).states == {"leaves": "done"}
    assert time.monotonic() - begin < 10
    assert processes_of(project.root) == []


def test_steps_without_an_order_run_beside_each_other(project: Project) -> None:
    wait = "touch ../{0}; while ! test -e ../{1}; do sleep 0.01; done"
    both = pipeline_of(sh("a", wait.format("a", "b"), timeout=20), sh("b", wait.format("b", "a"), timeout=20))
    assert Ran(project, both, jobs=2).result.outcome is Outcome.DONE


def test_a_step_knows_whose_it_is(project: Project) -> None:
    pipeline = pipeline_of(
        sh("first", "true", params=("epochs",)),
        sh(
            "second",
            "echo $SERINUS_RUN $SERINUS_PIPELINE $SERINUS_STEP $SERINUS_PROJECT;"
            " echo $SERINUS_PARAMS $X; which python",
            needs=("first",),
            env={"X": "{rate}"},
        ),
        parameters=[
            Parameter("epochs", 3, "int"),
            Parameter("rate", 0.5, "float"),
            Parameter("unused", True, "bool"),
        ],
    )
    run = Ran(project, pipeline)
    lines = [line for m in run.moments if isinstance(m, Said) for line in m.lines]
    params = '{"epochs": 3, "rate": 0.5}'
    assert lines[:2] == [f"tiny-1 tiny second {project.root}", f"{params} 0.5"]
    assert Path(lines[2]).parent == Path(sys.executable).parent


def test_conditions_leave_steps_out(project: Project) -> None:
    pipeline = pipeline_of(
        sh("tune", "echo x > tuned", outputs=("tuned",), when="not quick"),
        sh("train", "true", needs=("tune",)),
        sh("compare", "cat tuned", inputs=("tuned",)),
        parameters=[Parameter("quick", False, "bool")],
    )
    assert Ran(project, pipeline, {"quick": "yes"}).states == {
        "tune": "skipped",
        "train": "done",
        "compare": "skipped",
    }
    assert Ran(project, pipeline).states == {"tune": "done", "train": "cached", "compare": "done"}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([sh("a", "touch ran"), sh("b", "true", inputs=("nothere",))], "b reads nothere, which is not there"),
        ([sh("a", "touch ran"), sh("b", "true", needs=("c",))], "needs 'c', which is no step"),
        ([sh("a", "touch ran", outputs=("x",)), sh("b", "true", outputs=("x",))], "both write 'x'"),
        ([sh("a", "touch ran", needs=("b",)), sh("b", "true", needs=("a",))], "wait for each other"),
        ([sh("a", "touch ran"), sh("b", "true", when="nothing")], "names nothing, which is not declared"),
        (
            [sh("a", "touch ran"), sh("b", "echo {nothing}")],
            "uses the parameter nothing, which is not declared",
        ),
        ([sh("a", "touch ran"), sh("b", "true", outputs=("../x",))], "an output lies inside the project"),
        (
            [sh("a", "touch ran"), sh("b", "true", outputs=(".serinus/x",))],
            "nothing in .serinus is an output",
        ),
        ([sh("a", "touch ran"), sh("b", "true", outputs=("*.txt",))], "not a pattern"),
        (
            [sh("a", "touch ran"), sh("b", "true", inputs=("x/y",), outputs=("x",))],
            "is removed before it runs",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(project: Project, steps: list[Step], told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        Ran(project, pipeline_of(*steps))
    assert told in caught.value.message
    assert not (project.root / "ran").exists()


def test_a_failed_run_goes_on_where_it_stopped(project: Project) -> None:
    pipeline = pipeline_of(
        python("act", "pass", cache=False),
        python(
            "breaks",
            "open('b', 'w').write('x'); sys.exit(not pathlib.Path('../mended').exists())",
            needs=("act",),
            outputs=("b",),
        ),
        python("last", "pass", needs=("breaks",), cache=False),
        parameters=[Parameter("word", "x")],
    )
    first = Ran(project, pipeline, {"word": "y"})
    assert first.states == {"act": "done", "breaks": "failed", "last": "blocked"}
    with pytest.raises(PipelineError, match="has its parameters and options already"):
        Ran(project, pipeline, {"word": "z"}, resume=True)
    (project.root.parent / "mended").touch()
    second = Ran(project, pipeline, resume=True)
    assert (second.result.id, second.result.outcome, second.result.params) == (
        first.result.id,
        Outcome.DONE,
        {"word": "y"},
    )
    assert ran(project.root) == ["act", "breaks", "breaks", "last"]
    past = show(project.root, first.result.id)
    assert [(s.step, s.state.value, s.code) for s in past.steps] == [
        ("act", "done", 0),
        ("breaks", "done", 0),
        ("last", "done", 0),
    ]
    with pytest.raises(PipelineError, match="is done"):
        Ran(project, pipeline, resume=True)


def test_a_run_that_goes_on_looks_at_what_has_changed_meanwhile(project: Project) -> None:
    pipeline = pipeline_of(
        sh("first", "cp data.txt a", inputs=("data.txt",), outputs=("a",)),
        sh("bad", "exit 1", needs=("first",)),
    )
    Ran(project, pipeline)
    (project.root / "data.txt").write_text("other")
    assert Ran(project, pipeline, resume=True).states == {"first": "done", "bad": "failed"}
    assert (project.root / "a").read_text() == "other"


def test_one_run_at_a_time(project: Project) -> None:
    folder = written(project.root, "[pipeline.slow.steps.wait]\nrun = \"sh -c 'touch ../at; sleep 60'\"\n")
    process = started(folder, "run", "slow")
    try:
        wait_for((project.root.parent / "at").exists)
        code, document = serinus(folder, "run", "slow")
        assert code == 2
        assert document["error"]["kind"] == "PipelineBusy"
        assert f"runs already: slow-1, process {process.pid}, holds" in document["error"]["message"]
    finally:
        process.terminate()
        assert process.wait(30) == 130
    assert processes_of(folder) == []
    assert serinus(folder, "runs")[1][0]["outcome"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind_and_can_go_on(project: Project, number: int) -> None:
    folder = written(
        project.root,
        """
[pipeline.p.steps.first]
run = "cp data.txt a.txt"
outputs = ["a.txt"]
[pipeline.p.steps.slow]
run = ["sh", "-c", "cat a.txt > b.txt; sleep 60 & touch ../at; test -e ../go || sleep 60"]
inputs = ["a.txt"]
outputs = ["b.txt"]
""",
    )
    process = started(folder, "run")
    wait_for((project.root.parent / "at").exists)
    process.send_signal(number)
    assert process.wait(30) == 130
    assert processes_of(folder) == []
    assert not (folder / "b.txt").exists()
    assert (folder / "a.txt").read_text() == "data"
    past = serinus(folder, "runs", "show", "p-1")[1]
    assert (past["outcome"], [s["state"] for s in past["steps"]]) == ("interrupted", ["done", "interrupted"])
    (project.root.parent / "go").touch()
    assert serinus(folder, "run", "--resume")[0] == 0
    assert (folder / "b.txt").read_text() == "data"


def test_a_record_of_another_version_is_refused(project: Project) -> None:
    Ran(project, chain())
    with closing(sqlite3.connect(project.root / ".serinus/runs.sqlite")) as db:
        db.execute("UPDATE meta SET schema = 99")
        db.commit()
    with pytest.raises(PipelineError, match="has the schema 99; this version of Serinus reads 1"):
        Ran(project, chain())


def test_an_output_through_a_link_out_of_the_project_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").write_text("mine")
    (project.root / "out").symlink_to(tmp_path / "elsewhere")
    run = Ran(project, pipeline_of(sh("x", "true", outputs=("out/precious",))))
    assert "lies outside the project" in run.reason("x")
    assert (tmp_path / "elsewhere/precious").read_text() == "mine"


def test_what_is_kept_is_bounded_and_what_was_used_last_stays(project: Project) -> None:
    make = sh("make", "head -c 1000 /dev/zero | tr '\\0' {letter} > out", outputs=("out",))
    pipeline = pipeline_of(make, parameters=[Parameter("letter", "a")], keep=2500)
    for letter in "abcd":
        Ran(project, pipeline, {"letter": letter})
    objects = [p for p in (project.root / ".serinus/pipeline/store/objects").rglob("*") if p.is_file()]
    assert len(objects) == 2
    assert Ran(project, pipeline, {"letter": "c"}).states == {"make": "cached"}
    assert Ran(project, pipeline, {"letter": "a"}).states == {"make": "done"}


def test_a_preview_says_what_a_run_would_do(project: Project) -> None:
    (project.root / "e.txt").touch()
    assert [(one.what, one.why) for one in preview(project, chain())] == [
        ("runs", "for the first time"),
        ("perhaps", "if prepare makes something else"),
        ("perhaps", "if train makes something else"),
    ]
    Ran(project, chain())
    assert {one.what for one in preview(project, chain())} == {"unchanged"}
    assert [one.what for one in preview(project, chain(), {"epochs": 5})] == ["unchanged", "runs", "perhaps"]
    assert [one.what for one in preview(project, chain(), only=("train",), force=True)] == [
        "left",
        "runs",
        "left",
    ]


# Approvals

SCORE = """echo '{"quality": {"accuracy": 0.91}, "note": 1}' > score.json"""
ASKING = pipeline_of(
    sh("score", SCORE, outputs=("score.json",)),
    Step("ask", approve=Approval("Is it good?", ("score.json",), "sentiment@production")),
    python("register", "pass", needs=("ask",), cache=False),
)


def in_charge(model: str) -> dict[str, float]:
    assert model == "sentiment@production"
    return {"accuracy": 0.9}


def test_an_approval_waits_and_is_answered_from_elsewhere(project: Project) -> None:
    found: list[Ran] = []

    def ask() -> None:
        found.append(Ran(project, ASKING, metrics_of=in_charge))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    [question] = wait_for(lambda: asked(project.root))
    time.sleep(0.5)
    assert thread.is_alive()
    assert ran(project.root) == [], "nobody there is never a yes"
    assert question.evidence["metrics"] == [
        {"name": "quality.accuracy", "new": 0.91, "old": 0.9},
        {"name": "note", "new": 1, "old": None},
    ]
    approve(project.root, question.run, "ask", who="ada", comment="fine")
    begin = time.monotonic()
    thread.join(20)
    assert time.monotonic() - begin < 2
    assert found[0].states == {"score": "done", "ask": "done", "register": "done"}
    assert found[0].reason("ask") == "approved by ada: fine"
    [kept] = show(project.root, question.run).questions
    assert (kept.answer, kept.who, kept.comment) == ("yes", "ada", "fine")
    with pytest.raises(PipelineError, match="ada has answered yes to ask"):
        approve(project.root, question.run, "ask", yes=False)


def test_a_decline_blocks_and_a_new_try_asks_anew(project: Project) -> None:
    first = Ran(project, ASKING, wait=False)
    assert (first.result.outcome, first.states["ask"], first.states["register"]) == (
        Outcome.WAITING,
        "asks",
        "pending",
    )
    approve(project.root, first.result.id, "ask", yes=False, who="ada", comment="worse")
    second = Ran(project, ASKING, resume=True, wait=False)
    assert second.states["ask"] == "asks", "who declined may be asked again"
    assert [q.answer for q in show(project.root, first.result.id).questions] == ["no", None]
    approve(project.root, first.result.id, "ask", who="bob")
    assert Ran(project, ASKING, resume=True, wait=False).result.outcome is Outcome.DONE
    assert ran(project.root) == ["register"]


def test_a_declined_step_is_declined(project: Project) -> None:
    def decline(moment: object) -> None:
        if isinstance(moment, Asked):
            approve(project.root, moment.run, moment.step, yes=False, who="ada", comment="worse")

    run = Ran(project, ASKING, tell=decline)
    assert (run.result.outcome, run.states["ask"], run.states["register"]) == (
        Outcome.FAILED,
        "declined",
        "blocked",
    )
    assert run.reason("ask") == "declined by ada: worse"


def test_a_yes_holds_for_what_was_shown_alone(project: Project) -> None:
    first = Ran(project, ASKING, wait=False)
    approve(project.root, first.result.id, "ask")
    (project.root / "score.json").write_text('{"accuracy": 0.1}')
    changed = pipeline_of(Step("ask", approve=Approval("Is it good?", ("score.json",))), ASKING.steps[2])
    assert Ran(project, changed, resume=True, wait=False).states["ask"] == "asks"


def test_a_new_run_asks_again(project: Project) -> None:
    first = Ran(project, ASKING, wait=False)
    approve(project.root, first.result.id, "ask")
    assert Ran(project, ASKING, resume=True).result.outcome is Outcome.DONE
    assert Ran(project, ASKING, wait=False).result.outcome is Outcome.WAITING


def test_what_nobody_asks_cannot_be_answered(project: Project) -> None:
    with pytest.raises(PipelineError, match="there is no run 'tiny-1'"):
        approve(project.root, "tiny-1", "ask")
    run = Ran(project, ASKING, wait=False).result.id
    with pytest.raises(PipelineError, match="has no step 'aks'"):
        approve(project.root, run, "aks")
    with pytest.raises(PipelineError, match="score of tiny-1 asks nothing now"):
        approve(project.root, run, "score")


def test_what_is_to_be_shown_and_is_not_there_fails(project: Project) -> None:
    run = Ran(project, pipeline_of(Step("ask", approve=Approval("well?", ("none.json",)))))
    assert run.reason("ask") == "none.json, which is to be shown, is not there"


def test_a_model_to_compare_with_that_is_not_there_is_noted(project: Project) -> None:
    run = Ran(project, ASKING, wait=False, metrics_of=None)
    [evidence] = [moment.evidence for moment in run.moments if isinstance(moment, Asked)]
    assert evidence["note"].startswith("nothing to compare with: ")
    assert json.dumps(evidence)
