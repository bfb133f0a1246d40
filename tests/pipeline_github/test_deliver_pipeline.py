"""The built-in pipeline ``deliver``: it fits every project, and runs through the checks of all pipelines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from workflow_projects import PROJECTS, project

from serinus.checks.catalogue import CHECKS
from serinus.checks.fixtures import FIXTURES
from serinus.cli import DONE, NO, run
from serinus.pipeline import when
from serinus.pipeline.builtin import STATIC, deliver
from serinus.pipeline.declared import checked
from serinus.pipeline.parameters import bind
from serinus.pipeline.words import command_of, greedy
from serinus.project import Rollout
from serinus.registry.layout import Layout


@pytest.mark.parametrize("name", PROJECTS)
def test_it_is_right_for_every_project(name: str) -> None:
    pipeline = deliver(PROJECTS[name])
    order = checked(pipeline).order
    assert order[-5:] == ("check", "build", "verify", "publish", "deploy")
    assert all(step.needs == order[: order.index(step.name)] for step in pipeline.steps)
    assert [greedy(step) for step in pipeline.steps] == [""] * len(pipeline.steps)
    assert not any(step.cache for step in pipeline.steps)
    bind(pipeline, {})


def test_a_model_is_retrieved_where_it_is_elsewhere() -> None:
    assert checked(deliver(project(source="sentiment:3"))).order[0] == "retrieve"
    assert checked(deliver(project())).order[0] == "check"


def test_a_model_of_the_project_is_retrieved_where_a_parameter_names_another() -> None:
    pipeline = deliver(project(source="model.onnx"))
    retrieve = pipeline.steps[0]
    assert retrieve.name == "retrieve"
    assert not when.holds(retrieve.when, bind(pipeline, {}))
    assert when.holds(retrieve.when, bind(pipeline, {"model": "sentiment:3"}))


def test_the_checks_before_the_build_need_no_image() -> None:
    fixtures = {each.name: each for each in FIXTURES}

    def needs(names: tuple[str, ...]) -> set[str]:
        found = set(names)
        return found.union(*(needs(fixtures[name].needs) for name in names if name in fixtures))

    early = [check for check in CHECKS if check.layer in STATIC]
    assert len(early) > 10
    assert [check.id for check in early if "image" in needs(check.needs)] == []


def test_what_is_published_is_what_was_built_and_what_is_deployed_is_what_was_published() -> None:
    pipeline = deliver(project("ghcr.io/acme/sentiment"))
    values = bind(pipeline, {"tag": "1.2", "strategy": "blue-green"})
    commands = {step.name: " ".join(command_of(step, values)) for step in pipeline.steps}
    assert commands == {
        "check": "serinus check --only code --only dependencies --only model",
        "build": "serinus build --tag 1.2",
        "verify": "serinus check --image sentiment:1.2 --source",
        "publish": "serinus publish --image sentiment:1.2 ghcr.io/acme/sentiment:1.2",
        "deploy": "serinus deploy ghcr.io/acme/sentiment:1.2 --strategy blue-green --watch",
    }


@pytest.mark.parametrize(
    ("repository", "environment", "given", "runs"),
    [
        (None, False, {}, {"publish": False, "deploy": False}),
        (None, True, {}, {"publish": False, "deploy": True}),
        ("ghcr.io/acme/x", False, {}, {"publish": True, "deploy": False}),
        ("ghcr.io/acme/x", True, {}, {"publish": True, "deploy": True}),
        # What is in the registry under this name would be another image.
        ("ghcr.io/acme/x", True, {"publish": False}, {"publish": False, "deploy": False}),
        (None, False, {"publish": True, "repository": "oci:there"}, {"publish": True, "deploy": False}),
    ],
)
def test_it_publishes_and_deploys_where_the_project_knows_a_place(
    repository: str | None, environment: bool, given: dict[str, bool | str], runs: dict[str, bool]
) -> None:
    pipeline = deliver(project(repository), environment=environment)
    values = bind(pipeline, given)
    assert {s.name: when.holds(s.when, values) for s in pipeline.steps if s.when} == runs


def test_without_a_repository_what_was_built_is_deployed() -> None:
    pipeline = deliver(replace(project(), rollout=Rollout(strategy="shadow")))
    assert command_of(pipeline.steps[-1], bind(pipeline, {}))[2:5] == (
        "sentiment:latest",
        "--strategy",
        "shadow",
    )


def test_only_secrets_that_are_set_are_asked_for() -> None:
    mine = project("docker.io/acme/x", "hf://acme/model")
    every = {step.name: step.secrets for step in deliver(mine).steps}
    assert every["publish"] == ("DOCKER_HUB_USERNAME", "DOCKER_HUB_ACCESS_TOKEN")
    assert every["retrieve"] == every["build"] == every["verify"] == ("HF_TOKEN",)
    assert every["deploy"] == ("SERINUS_CONTROL_TOKEN",)
    environment = {"HF_TOKEN": "x" * 9, "DOCKER_HUB_USERNAME": ""}
    some = {step.name: step.secrets for step in deliver(mine, given=environment).steps}
    assert some["publish"] == some["deploy"] == ()
    assert some["retrieve"] == ("HF_TOKEN",)


def test_a_version_that_was_just_registered_is_looked_at_by_every_step_that_needs_the_model() -> None:
    pipeline = deliver(project(source="sentiment:3"))
    with_model = [step.name for step in pipeline.steps if step.env.get("SERINUS_MODEL_SOURCE") == "{model}"]
    assert with_model == ["retrieve", "check", "build", "verify"]


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.mmdebstrap
def test_a_project_is_delivered_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--name", "greeting"]) == DONE
    skipped = ["speed", "behaviour", "transport", "contract", "image"]
    with (tmp_path / "serinus.toml").open("a") as file:
        file.write(
            f'\n[image]\nrepository = "oci:published"\nignore = ["/published/"]\n[checks]\nskip = {skipped}\n'
        )
    capsys.readouterr()
    assert run(["deliver", "-p", "tag=1", "--json"]) == DONE
    document = json.loads(capsys.readouterr().out)
    states = {step["name"]: step["state"] for step in document["steps"]}
    assert states == {
        "check": "done",
        "build": "done",
        "verify": "done",
        "publish": "done",
        "deploy": "skipped",
    }
    built, published = Layout(tmp_path / ".serinus/layout"), Layout(tmp_path / "published")
    assert published.resolve("1").digest == built.resolve("greeting:1").digest


@pytest.mark.network
def test_what_fails_a_check_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--name", "greeting"]) == DONE
    with (tmp_path / "service.py").open("a") as file:
        file.write("\n\ndef forgotten():\n    return nowhere\n")
    capsys.readouterr()
    assert run(["deliver", "--json"]) == NO
    states = {step["name"]: step["state"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert states["check"] == "failed"
    assert "done" not in states.values()
