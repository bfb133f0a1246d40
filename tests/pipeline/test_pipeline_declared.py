"""``[pipeline.NAME]`` of the project file becomes a pipeline, or every fault in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_projects import HEAD, written

from serinus.errors import PipelineError, ProjectError
from serinus.pipeline import Approval, Parameter, Step
from serinus.pipeline.declared import pipelines
from serinus.pipeline.known import pipeline_of
from serinus.project import Project
from serinus.project.file import KEPT, describe

TRAIN = """
[pipeline.train]
about = "from the raw sentences to a registered model"
keep = "1GiB"
params.epochs = { type = "int", default = 3, minimum = 1, maximum = 100, about = "passes over the data" }
params.rate = { default = 1, type = "float" }
params.stage = { choices = ["test", "prod"] }

[pipeline.train.steps.prepare]
run = "python prepare.py --text 'two words'"
inputs = ["./data.py", "raw/"]
outputs = ["build/sentences.jsonl"]

[pipeline.train.steps.train]
run = ["python", "train.py", "{epochs}"]
inputs = ["build/sentences.jsonl"]
env = { RATE = "{rate}" }
secrets = ["HUB_TOKEN"]
timeout = "10m"
retries = 2
when = "stage == 'prod'"

[pipeline.train.steps.approve]
approve = "Is the new model good enough?"
show = ["build/evaluation.json"]
against = "sentiment@production"

[pipeline.train.steps.register]
run = "serinus model register x build/model"
needs = ["approve"]
cache = false
"""


def test_a_pipeline_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    project = Project.load(written(tmp_path, TRAIN))
    found = pipelines(project)["train"]
    assert found.parameters == (
        Parameter("epochs", 3, "int", 1, 100, about="passes over the data"),
        Parameter("rate", 1.0, "float"),
        Parameter("stage", None, choices=("test", "prod")),
    )
    assert found.steps == (
        Step(
            "prepare",
            ("python", "prepare.py", "--text", "two words"),
            inputs=("data.py", "raw"),
            outputs=("build/sentences.jsonl",),
        ),
        Step(
            "train",
            ("python", "train.py", "{epochs}"),
            inputs=("build/sentences.jsonl",),
            env={"RATE": "{rate}"},
            secrets=("HUB_TOKEN",),
            timeout=600.0,
            retries=2,
            when="stage == 'prod'",
        ),
        Step(
            "approve",
            approve=Approval(
                "Is the new model good enough?", ("build/evaluation.json",), "sentiment@production"
            ),
        ),
        Step(
            "register", ("serinus", "model", "register", "x", "build/model"), needs=("approve",), cache=False
        ),
    )
    assert dict(found.steps[1].env) == {"RATE": "{rate}"}
    assert (found.about, found.keep) == ("from the raw sentences to a registered model", 1 << 30)


def test_what_was_kept_is_the_same_and_the_project_is_described(tmp_path: Path) -> None:
    first = Project.load(written(tmp_path, TRAIN))
    assert (tmp_path / KEPT).is_file()
    again = Project.load(tmp_path)
    assert pipelines(again) == pipelines(first)
    assert list(describe(again)["pipeline"]["train"]["steps"]) == ["prepare", "train", "approve", "register"]


def test_the_same_tables_stand_in_a_pyproject(tmp_path: Path) -> None:
    text = (
        (HEAD + TRAIN)
        .replace("[service]", "[tool.serinus.service]")
        .replace("[pipeline", "[tool.serinus.pipeline")
    )
    (tmp_path / "pyproject.toml").write_text(text)
    assert [step.name for step in pipeline_of(Project.load(tmp_path)).steps] == [
        "prepare",
        "train",
        "approve",
        "register",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("timeout", "timout", "train.timout; did you mean pipeline.train.steps.train.timeout?"),
        (
            "params.rate",
            "parms.rate",
            "unknown key pipeline.train.parms; did you mean pipeline.train.params?",
        ),
        ("steps.prepare", 'steps."a b"', 'pipeline.train.steps.a b = "a b"; expected a text that matches'),
        ('"10m"', '"soon"', 'steps.train.timeout = "soon"; expected a number of seconds'),
        (
            '["python", "train.py", "{epochs}"]',
            "[1]",
            "run = [1]; expected a command: a text, or a list of words",
        ),
        (
            "default = 3",
            "default = 1979-05-27",
            "default = 1979-05-27; expected a text, a number, true or false",
        ),
        ("{ RATE", '{ "A-B"', "expected a text that matches"),
        ("retries = 2", "retries = -1", "expected a number greater than or equal to 0"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(ProjectError) as caught:
        Project.load(written(tmp_path, TRAIN.replace(old, new)))
    assert told in caught.value.message
    line = (HEAD + TRAIN.replace(old, new)).splitlines()[int(caught.value.message.split(":")[1]) - 1]
    assert new.rsplit(".", maxsplit=1)[-1].split(" ", maxsplit=1)[0] in line


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'run = "python prepare',
            'approve = "x"\nrun = "python prepare',
            "prepare needs one of run (a command) and approve",
        ),
        ("--text 'two", "--text two", "which is no words: no closing quotation"),
        ("against", 'inputs = ["x"]\nagainst', "the step approve asks a person: it has no inputs"),
        ("retries", 'show = ["x"]\nretries', "show and against belong to an approval"),
        (
            "{epochs}",
            "{epoch}",
            "train uses the parameter epoch, which is not declared; did you mean epochs?",
        ),
        ("stage ==", "stag ==", "names stag, which is not declared; did you mean stage?"),
        ("stage ==", "stage =", "is no condition"),
        ("default = 3", "default = 0", "the parameter epochs = 0; expected at least 1"),
        (
            'needs = ["approve"]',
            'needs = ["aprove"]',
            "needs 'aprove', which is no step; did you mean approve?",
        ),
        ('"build/sentences.jsonl"]\n\n', '"/tmp/x"]\n\n', "an output lies inside the project"),
    ],
)
def test_what_is_declared_wrongly_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = TRAIN.replace(old, new, 1)
    assert text != TRAIN
    with pytest.raises(PipelineError) as caught:
        pipelines(Project.load(written(tmp_path, text)))
    assert told in caught.value.message
    assert caught.value.message.startswith("pipeline.train: ")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = TRAIN.replace("{epochs}", "{x}").replace("stage ==", "y ==").replace('"approve"', '"z"')
    with pytest.raises(PipelineError) as caught:
        pipelines(Project.load(written(tmp_path, text)))
    assert len(caught.value.message.splitlines()) == 3


def test_a_pipeline_by_its_name(tmp_path: Path) -> None:
    project = Project.load(written(tmp_path, TRAIN))
    assert pipeline_of(project) == pipeline_of(project, "train")
    assert pipeline_of(project, "deliver").name == "deliver"
    with pytest.raises(PipelineError, match="there is no pipeline 'trian'; did you mean train"):
        pipeline_of(project, "trian")
    own = Project.load(written(tmp_path, '[pipeline.deliver.steps.mine]\nrun = "true"\n'))
    assert [step.name for step in pipeline_of(own, "deliver").steps] == ["mine"]
    none = Project.load(written(tmp_path, ""))
    with pytest.raises(PipelineError, match="it declares none"):
        pipeline_of(none)
