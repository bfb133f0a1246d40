"""The commands that ask an environment, against one in this process; and how it is shown."""

from __future__ import annotations

import _thread
import io
import json
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fakes.environment import FakeEnvironment, running
from rollout.rollout_fakes import NEW, OLD, version
from serinus.cli import DONE, FAILED, INTERRUPTED, NO, run
from serinus.cli.watching import Live, Log, bar, display, moment, picture
from serinus.environment.api.token import read
from serinus.environment.client import Look
from serinus.environment.overview import overview
from serinus.environment.place import token_file
from serinus.environment.status import Event, MetricStatus, ShadowExample, ShadowStatus, Status
from serinus.rollout import Counts, Found, Health, Routing, Tally
from serinus.rollout.command import Deploy, command
from serinus.rollout.policy import Policy
from serinus.rollout.run import View
from serinus.rollout.state import Phase, State
from serinus.rollout.traffic import Traffic

PROJECT = '[service]\nname = "mood"\nentrypoint = "service:predict"\n'


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEnvironment]:
    (tmp_path / "serinus.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    with running(tmp_path) as made:
        yield made


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Run a command with --json: its exit code and its document."""
    capsys.readouterr()
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([*arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def under_way(env: FakeEnvironment) -> Any:
    return env.controller.view.state.rollout


# The commands


def test_where_none_runs_every_command_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["status"], ["abort"], ["history"], ["logs", "stable"], ["deploy", "x"]):
        code, document = asked(capsys, *arguments)
        assert (code, document["error"]["kind"]) == (FAILED, "ControlError")
        assert "serinus up" in document["error"]["todo"]


def test_status_says_how_it_stands(env: FakeEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = asked(capsys, "status")
    assert (code, document["stable"]["name"]) == (DONE, "mood:a")
    code, out, _ = said(capsys, "status")
    assert code == DONE
    assert "mood at http://127.0.0.1:5000" in out
    assert "mood:a aaaaaaaa" in out
    assert "no rollout is under way" in out


def test_another_project_and_a_url(
    env: FakeEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert asked(capsys, "status", "-C", str(tmp_path))[0] == DONE
    assert asked(capsys, "status", "--config", str(tmp_path))[0] == DONE
    assert asked(capsys, "status", "-C", str(tmp_path), "--url", env.url)[0] == DONE
    assert asked(capsys, "status", "--url", env.url)[1]["error"]["message"].startswith("there is no token")
    monkeypatch.setenv("SERINUS_CONTROL_TOKEN", env.token)
    assert asked(capsys, "status", "--url", env.url)[0] == DONE
    monkeypatch.setenv("SERINUS_CONTROL_URL", env.url)
    assert asked(capsys, "status")[0] == DONE


def test_deploy_starts_and_says_where_to_look(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "deploy", "mood:b")
    assert code == DONE
    assert "mood:b (bbbbbbbb) is on its way" in out
    assert "serinus status --watch" in out
    assert under_way(env).candidate == NEW


def test_deploy_without_an_image_takes_the_project_s_latest(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no image 'mood:latest'" in asked(capsys, "deploy")[1]["error"]["message"]
    env.images.known["mood:latest"] = replace(version(NEW), name="mood:latest")
    code, document = asked(capsys, "deploy", "--strategy", "blue-green")
    assert (code, document["version"]["name"], document["end"]) == (DONE, "mood:latest", None)
    assert under_way(env).policy.strategy == "blue-green"


def test_deploy_with_watch_ends_with_the_rollout(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, "deploy", "mood:b", "--watch")
    assert code == DONE
    assert "mood:b (bbbbbbbb) was promoted: it is in charge now" in out
    for part in ("start", "10 % of the traffic", "all traffic", "it is in charge now"):
        assert part in err
    code, document = asked(capsys, "deploy", "mood:b", "--watch")
    assert (code, document["number"]) == (DONE, 0)
    assert "in charge already" in document["message"]


def test_a_candidate_that_goes_back_is_told_by_the_exit_code(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    env.bad = 1.0
    code, document = asked(capsys, "deploy", "mood:b", "--watch")
    assert (code, document["end"]) == (NO, "aborted")
    assert document["events"][-1]["kind"] == "abort"


def test_one_that_takes_its_place_is_told_too(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    env.requests = 0
    timer = env.once_watched(lambda: env.control.deploy("mood:c"))
    code, document = asked(capsys, "deploy", "mood:b", "--watch")
    timer.join()
    assert (code, document["end"]) == (NO, "superseded")


def test_what_its_report_does_not_allow_is_a_no(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = asked(capsys, "deploy", "mood:unchecked")
    assert (code, document["error"]["kind"]) == (NO, "CheckError")
    code, document = asked(capsys, "deploy", "mood:z")
    assert (code, document["error"]["kind"]) == (FAILED, "NotFound")
    assert asked(capsys, "deploy", "mood:b", "--strategy", "sideways")[0] == FAILED


def test_ctrl_c_ends_the_watching_and_not_the_rollout(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    env.requests = 0
    timer = env.once_watched(_thread.interrupt_main)
    code, _, err = said(capsys, "deploy", "mood:b", "--watch")
    timer.join()
    assert code == INTERRUPTED
    assert "rollout 2 goes on" in err
    assert under_way(env).candidate == NEW


def test_an_environment_that_goes_away_is_an_error(
    env: FakeEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    env.requests = 0
    timer = env.once_watched(env.server.close)
    code, document = asked(capsys, "deploy", "mood:b", "--watch")
    timer.join()
    assert (code, document["error"]["kind"]) == (FAILED, "ControlError")


def test_pause_resume_promote_abort_undo(env: FakeEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "promote")[1]["error"]["kind"] == "RolloutError"
    run(["deploy", "mood:b"])
    assert asked(capsys, "pause")[1]["rollout"]["paused"]
    assert not asked(capsys, "resume")[1]["rollout"]["paused"]
    assert asked(capsys, "abort", "--why", "it is late")[1]["rollout"] is None
    assert env.recorded[-1].entry.message == "a person asked for it: it is late"
    run(["deploy", "mood:b"])
    env.until(lambda: under_way(env).weight)
    code, out, _ = said(capsys, "promote", "--full")
    assert code == DONE
    assert "baking" in out
    env.until(lambda: env.controller.view.state.stable == NEW)
    assert asked(capsys, "undo")[1]["rollout"]["candidate"]["digest"] == OLD


def test_history_says_what_was_decided(env: FakeEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    run(["deploy", "mood:b", "--watch"])
    code, document = asked(capsys, "history", "--rollout", "1")
    assert (code, [one["kind"] for one in document]) == (DONE, ["start", "ready", "promote"])
    assert len(asked(capsys, "history", "-n", "2")[1]) == 2
    _, out, _ = said(capsys, "history")
    assert "it is in charge now" in out.splitlines()[-1]


def test_logs_are_shown_and_followed(env: FakeEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    env.wrote[OLD] = b"one\n"
    assert asked(capsys, "logs", "stable") == (DONE, {"version": "stable", "text": "one\n"})
    assert said(capsys, "logs", "mood:a")[1] == "one\n"
    assert asked(capsys, "logs", "mood:z")[0] == FAILED
    assert asked(capsys, "logs", "stable", "--follow")[1]["error"]["kind"] == "Usage"

    calls: list[int] = []
    logs = env.control._logs

    def more(digest: str, since: int) -> bytes:
        calls.append(since)
        if len(calls) == 2:
            env.wrote[OLD] += b"two\n"
        elif len(calls) == 4:
            _thread.interrupt_main()
        return logs(digest, since)

    env.control._logs = more
    code, out, _ = said(capsys, "logs", "stable", "-f")
    assert (code, out) == (DONE, "one\ntwo\n")


def test_status_is_watched_until_ctrl_c(env: FakeEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    def go() -> None:
        env.control.deploy("mood:b")
        env.until(lambda: env.kinds().count("promote") == 2)
        time.sleep(0.5)
        _thread.interrupt_main()

    thread = env.once_watched(go, looks=1)
    code, _, err = said(capsys, "status", "--watch")
    thread.join()
    assert code == DONE
    assert "it is in charge now" in err
    assert asked(capsys, "status", "--watch")[1]["error"]["kind"] == "Usage"


def test_a_token_is_replaced(env: FakeEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    file = token_file(env.folder)
    before = read(file)
    file.chmod(0o644)
    assert asked(capsys, "status")[1]["error"]["todo"] == "Others may have it: run `serinus token rotate`."
    code, document = asked(capsys, "token", "rotate")
    assert code == DONE
    assert Path(document["file"]).samefile(file)
    assert read(file) != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert before not in json.dumps(document)
    assert asked(capsys, "status")[0] == DONE


def test_up_and_down_need_a_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["up"], ["down"]):
        code, document = asked(capsys, *arguments)
        assert (code, document["error"]["kind"]) == (FAILED, "ProjectError")


# How it is shown


def seen(**changes: Any) -> Status:
    idle = State(versions={OLD: version(OLD)}, stable=OLD)
    policy = Policy(steps=(0.01, 0.05, 0.25, 0.5, 1.0))
    state = command(idle, Deploy(version(NEW), policy), 50.0).state
    assert state.rollout is not None
    here = Tally(0.05, Counts(clean=1900), Counts(clean=100, errors=1))
    told = {"phase": Phase.STEPPING, "step": 1, "waits": "359 more clean answers", "here": here} | changes
    state = replace(state, rollout=replace(state.rollout, **told))
    found = {
        OLD: Found(OLD, Health.READY, (("127.0.0.1", 1),)),
        NEW: Found(NEW, Health.FAILING, (), 2, "exit code 1\n\x1b[2Jlog"),
    }
    view = View(state, Routing(1, weight=0.01), found, Traffic(), "")
    return overview(view, environment="mood", url="http://here", replicas=1, last=3, now=60.0)


def event(kind: str, message: str) -> Event:
    return Event(1, 1e9, 1, NEW, "mood:b", kind, message)


def test_the_picture_says_all_that_matters() -> None:
    rows = picture(seen())
    text = "\n".join(line for line, _ in rows)
    for part in (
        "mood at http://here",
        "mood:a aaaaaaaa",
        "mood:b bbbbbbbb",
        "95 %",
        "0/1 failing, 2 restarts",
        "exit code 1 \\x1b[2Jlog",
        "rollout 1: canary, stepping, step 2 of 5 (1 5 25 50 100 %)",
        "the router has 1 %, wanted is 5 %",
        "violations",
        "drift",
        "promise",
        "at most 6.",
        "wanted 1 %",
        "waits for 359 more clean answers",
    ):
        assert part in text
    assert "\x1b" not in text
    assert ("waits for 359 more clean answers", "cyan") in rows
    assert ("waits for a person", "yellow") in picture(seen(waits="a person", held="drift"))


def test_the_picture_of_a_shadow_and_of_what_is_decided() -> None:
    status = seen()
    assert status.rollout is not None
    shadow = ShadowStatus(10, 300, 0.9, 0.99, 1.5, "wait", (ShadowExample("r", "200 true", "200 false", ""),))
    crossed = MetricStatus("errors", 9.0, 5.9, 1.0, True, 3, 0)
    rollout = replace(status.rollout, shadow=shadow, evidence=(crossed,), promise=None)
    rows = picture(replace(status, rollout=rollout, trouble="the router does not answer"))
    text = "\n".join(line for line, _ in rows)
    assert "10 of 300" in text
    assert "90 % agree, 1.50 times the latency" in text
    assert "differs at /" in text
    assert any(line.startswith("  errors") and colour == "red" for line, colour in rows)
    assert ("trouble: the router does not answer", "red") in rows


@given(st.floats(0, 1), st.integers(1, 40))
def test_a_bar_is_as_wide_as_it_is(share: float, width: int) -> None:
    made = bar(share, width)
    assert len(made) == width
    assert ("█" in made) == (share > 0)


def test_the_live_display_draws_and_keeps_what_happened() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, height=40, record=True)
    live = Live(console)
    live(Look((event("step", "5 % of the traffic"),), seen()))
    live(Look((event("hold", "holds \x1b[31m[red]at 5 %"),), seen(waits="traffic", held="traffic")))
    live.close()
    text = console.export_text()
    assert "step       5 % of the traffic" in text
    assert "[red]at 5 %" in text
    assert "waits for traffic" in text
    drawn = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    assert "█" in drawn


def test_a_small_terminal_is_not_overrun() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40, height=5)
    live = Live(console)
    live(Look((), seen()))
    assert live._drawn().plain.count("\n") <= 3
    live.close()


def test_a_log_says_each_reason_to_wait_once() -> None:
    written: list[str] = []
    log = Log(written.append)
    for number in range(5):
        log(Look((), seen(waits=f"{number} more clean answers")))
    log(Look((event("hold", "holds"),), seen(waits="a person", held="drift")))
    log.close()
    assert written[0].strip() == "5 %: waits for 0 more clean answers"
    assert len(written) == 3
    assert written[1] == moment(event("hold", "holds"))[0]


def test_where_no_terminal_is_lines_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    shown = display(quiet=False)
    assert isinstance(shown, Log)
    shown(Look((event("abort", "no"),), seen()))
    assert "abort      no" in capsys.readouterr().err
    display(quiet=True)(Look((event("abort", "no"),), seen()))
    assert capsys.readouterr().err == ""
