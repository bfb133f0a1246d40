"""The workflow runs: under ``act``, which reads and runs workflows as GitHub's runner does, on this machine.

Actions come from GitHub, so each is replaced by one of the same name that does nothing: Python and Serinus
are here. What Serinus itself does is real, up to the push into a registry with a password.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from parts import RealRegistry, registry
from serinus.cli import DONE, run
from serinus.files import cache_folder
from serinus.registry.credentials import PREFIX, variable_part
from serinus.registry.layout import Layout

__all__ = ["registry"]
BIN = Path(sys.executable).parent
DOUBLE = """\
name: double
description: does nothing
runs:
  using: composite
  steps:
    - run: "true"
      shell: bash
"""
GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
GIT |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, env={**os.environ, **GIT}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def committed(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a change")
    return git(folder, "rev-parse", "HEAD")


@dataclass(frozen=True)
class Repository:
    """A git repository with a project and its workflow."""

    folder: Path
    beside: Path

    def write(self, more: str) -> None:
        """Add to the project file, and write the workflow of ``deliver``."""
        with (self.folder / "serinus.toml").open("a") as file:
            file.write(f"\n{more}\n")

    def workflow(self, pipeline: str = "deliver") -> str:
        """Write the workflow, with a line of our own in a marked place; commit; the commit."""
        assert run(["ci", "github", pipeline, "-C", str(self.folder)]) == DONE
        file = self.folder / f".github/workflows/{pipeline}.yml"
        mark = "  # serinus: begin env\n"
        text = file.read_text().replace(mark, f"{mark}  SERINUS_CACHE: {cache_folder()}\n")
        file.write_text(text)
        assert run(["ci", "github", pipeline, "-C", str(self.folder), "--check"]) == DONE
        return committed(self.folder)

    def doubles(self) -> list[str]:
        """For each action of the workflows, one of the same name that does nothing."""
        told = []
        workflows = "".join(file.read_text() for file in (self.folder / ".github/workflows").iterdir())
        for use in sorted(set(re.findall(r"uses: (\S+)", workflows))):
            folder = self.beside / use.partition("@")[0].replace("/", "-")
            if not folder.exists():
                folder.mkdir()
                (folder / "action.yml").write_text(DOUBLE)
                git(folder, "init", "-q")
                committed(folder)
            told += ["--local-repository", f"{use}={folder}"]
        return told

    def act(self, event: str, *words: str, secrets: dict[str, str] | None = None) -> tuple[int, str]:
        """Let an event happen: the exit code, and what was printed."""
        kept = self.beside / "secrets"
        kept.write_text("".join(f"{name}={value}\n" for name, value in (secrets or {}).items()))
        command = [BIN / "act", event, "-P", "ubuntu-latest=-self-hosted", "--secret-file", kept]
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(self.beside / "cache"),  # of act; Serinus has its own, see above
        }
        process = subprocess.Popen(
            [*command, *self.doubles(), *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=300)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        return process.returncode, output


@pytest.fixture
def repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Repository:
    found = Repository(tmp_path / "greeting", tmp_path / "beside")
    found.beside.mkdir()
    assert run(["init", "-C", str(found.folder)]) == DONE
    git(found.folder, "init", "-q", "-b", "main")
    return found


def done_in(output: str) -> list[str]:
    """The steps of ``deliver`` that succeeded, in order."""
    return re.findall(r"Success - Main (check|build|verify|publish|deploy) \[", output)


@pytest.mark.network
@pytest.mark.registry
@pytest.mark.sandbox
@pytest.mark.mmdebstrap
def test_a_push_is_delivered_into_a_registry(
    repository: Repository, registry: RealRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{registry.host}/by-a-workflow/greeting"
    required = '[deploy]\nrequire = ["code", "contract", "transport"]\n[checks]\nskip = ["speed"]'
    repository.write(f'[image]\nrepository = "{name}"\n{required}')
    commit = repository.workflow()
    own = f"{PREFIX}{variable_part(registry.host)}_"
    secrets = {f"{own}USERNAME": registry.username, f"{own}PASSWORD": registry.password}

    code, output = repository.act("push", secrets=secrets)

    assert code == 0, output
    assert done_in(output) == ["check", "build", "verify", "publish"]
    assert registry.password not in output
    match = re.search(rf"{re.escape(name)}:{commit}\s+(sha256:[0-9a-f]{{64}})", output)
    assert match, output
    for variable, value in registry.environment().items():
        monkeypatch.setenv(variable, value)
    assert run(["pull", f"{name}@{match[1]}", "--layout", str(tmp_path / "pulled")]) == DONE
    pulled = Layout(tmp_path / "pulled")
    assert pulled.resolve(match[1]).digest == match[1]
    assert run(["report", f"{name}:{commit}", "--require", "contract"]) == DONE


@pytest.mark.network
def test_a_pull_request_is_checked_with_annotations_and_a_summary(repository: Repository) -> None:
    skipped = '["dependencies", "image", "transport", "contract", "behaviour", "speed", "model"]'
    repository.write(f"[checks]\nskip = {skipped}")
    with (repository.folder / "service.py").open("a") as file:
        file.write("\n\ndef forgotten():\n    return nowhere\n")
    repository.workflow()

    code, output = repository.act("pull_request")

    assert code == 1
    assert re.search(r"::error file=service\.py,line=\d+,title=code\.lint failed::", output), output
    assert "1 of" in output.partition("Summary - ###")[2]
    assert "[deliver/check" in output
    assert "[deliver/deliver" not in output


def test_a_hostile_name_of_a_model_stops_at_the_door(repository: Repository, tmp_path: Path) -> None:
    repository.write('[model]\nsource = "sentiment:1"\npath = "model.onnx"')
    repository.workflow()
    event = tmp_path / "event.json"
    hostile = f"$(touch {tmp_path}/pwned); https://evil.example/m.onnx"
    event.write_text(json.dumps({"action": "model-registered", "client_payload": {"model": hostile}}))

    code, output = repository.act("repository_dispatch", "-e", str(event))

    assert code == 1
    assert "client_payload.model must be NAME:VERSION of a registered model" in output
    assert "Run Main install Serinus" not in output
    assert not (tmp_path / "pwned").exists()


PIPELINE = """\
[pipeline.say.params]
text = {default = "a"}
loud = {default = true}
[pipeline.say.steps.whisper]
run = ["python", "-c", "import json, sys; print('said', json.dumps(sys.argv[1:]))", "{text}", "x{text}y"]
[pipeline.say.steps.shout]
run = "python -c 'print(\\"shouted\\")'"
when = "loud and text"
needs = ["whisper"]
"""


@pytest.mark.parametrize(("loud", "shouted"), [("true", 1), ("false", 0)])
def test_what_a_person_fills_in_is_a_value_and_never_a_script(
    repository: Repository, tmp_path: Path, loud: str, shouted: int
) -> None:
    repository.write(PIPELINE)
    repository.workflow("say")
    # No "${{" in it: act, unlike GitHub's runner, evaluates the value of a variable a second time.
    text = f"$(touch {tmp_path}/pwned) `id` \"'; $HOME && {{loud}} \\ *"

    code, output = repository.act("workflow_dispatch", "--input", f"text={text}", "--input", f"loud={loud}")

    assert code == 0, output
    assert f"said {json.dumps([text, f'x{text}y'])}" in output
    assert len(re.findall(r"\| shouted", output)) == shouted
    assert not (tmp_path / "pwned").exists()
