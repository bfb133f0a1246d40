"""The workflow: its triggers, rights, secrets and steps, read by a reader of YAML, and by two linters."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow_projects import PLANS, PROJECTS, parsed, project, steps

from serinus import __version__
from serinus.errors import PipelineError
from serinus.pipeline import Approval, Parameter, Pipeline, Step
from serinus.pipeline.github.pins import PINS, Pin
from serinus.pipeline.github.places import sealed
from serinus.pipeline.github.plan import Plan, deliver, filename
from serinus.pipeline.github.secrets import taken
from serinus.pipeline.github.workflow import workflow

BIN = Path(sys.executable).parent
every_plan = pytest.mark.parametrize("name", PLANS)


def everything(value: Any) -> Iterator[str]:
    """All texts of a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from everything(key)
            yield from everything(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everything(inner)
    elif isinstance(value, str):
        yield value


def test_what_starts_it() -> None:
    on = parsed(PLANS["ghcr"])["on"]
    assert on["push"] == {"branches": ["main"]}
    assert on["pull_request"] == {}
    assert on["repository_dispatch"] == {"types": ["model-registered"]}
    assert list(on["workflow_dispatch"]["inputs"]) == [
        "model", "tag", "publish", "repository", "deploy", "strategy",
    ]  # fmt: skip
    assert parsed(PLANS["otherwise"])["on"]["push"] == {"branches": ["lines/1.x"]}


def test_each_step_of_the_pipeline_is_a_step_of_its_own() -> None:
    plan = PLANS["ghcr"]
    job = parsed(plan)["jobs"]["deliver"]
    names = [step.name for step in plan.pipeline.steps]
    assert [name for name in steps(job) if name in names] == names
    assert steps(job)["build"]["run"] == 'serinus build --tag "${PARAM_TAG}"'


@every_plan
def test_rights_are_the_least(name: str) -> None:
    document = parsed(PLANS[name])
    assert document["permissions"] == {}
    for job_name, job in document["jobs"].items():
        uses_cloud = any("log in to" in step for step in steps(job))
        oidc = PLANS[name].project.ci.oidc
        rights = job["permissions"]
        assert rights["contents"] == "read"
        assert rights.get("id-token") == ("write" if uses_cloud and oidc else None)
        told = " ".join(everything(job))
        assert ("packages" in rights) == ("secrets.GITHUB_TOKEN" in told)
        if job_name == "check":
            assert rights.get("packages") in {None, "read"}


def test_packages_are_written_by_the_job_that_publishes_alone() -> None:
    jobs = parsed(deliver(project("ghcr.io/acme/x", environments={"deploy": "production"})))["jobs"]
    assert {name: job["permissions"].get("packages") for name, job in jobs.items()} == {
        "check": None,
        "deliver": "write",
        "deploy": None,
    }
    assert jobs["deploy"]["environment"] == "production"


@every_plan
def test_pull_requests_are_checked_and_nothing_else(name: str) -> None:
    jobs = parsed(PLANS[name])["jobs"]
    job = jobs.pop("check")
    assert job["if"] == "github.event_name == 'pull_request'"
    assert steps(job)["check"]["run"] == "serinus check --format github"
    assert not any(re.search(r"serinus (publish|deploy)", text) for text in everything(job))
    assert not any("PARAM_" in text for text in everything(job))
    for other in jobs.values():
        assert "github.event_name != 'pull_request'" in other["if"]


@every_plan
def test_secrets_stand_in_the_environment_of_the_steps_that_need_them_and_are_listed(name: str) -> None:
    plan = PLANS[name]
    document = parsed(plan)
    listed = {(one.job, one.name) for one in taken(plan)}
    found = set()
    for job_name, job in document["jobs"].items():
        assert not any("secrets." in text for text in everything({**job, "steps": []}))
        for step in job["steps"]:
            for text in everything({**step, "env": {}, "with": {}}):
                assert "secrets." not in text
            for text in everything(step):
                found |= {(job_name, match) for match in re.findall(r"(?:secrets|vars)\.(\w+)", text)}
        found |= {(job_name, n) for n in re.findall(r"vars\.(\w+)", " ".join(everything(job["steps"])))}
    assert found == listed


@every_plan
def test_no_expression_stands_in_a_script(name: str) -> None:
    for job in parsed(PLANS[name])["jobs"].values():
        assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []


@every_plan
def test_every_action_is_pinned_to_a_commit_and_says_its_version(name: str) -> None:
    uses = re.findall(r"uses: (.*)", workflow(PLANS[name]))
    assert uses
    for line in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_own_pins_are_used() -> None:
    plan = replace(PLANS["ghcr"], pins={**PINS, "actions/checkout": Pin("a" * 40, "v99.0.0")})
    assert f"actions/checkout@{'a' * 40} # v99.0.0" in workflow(plan)


def test_a_registered_model_is_delivered_and_its_name_looked_at_first() -> None:
    job = parsed(PLANS["ghcr"])["jobs"]["deliver"]
    assert job["env"]["PARAM_MODEL"] == (
        "${{ github.event_name == 'workflow_dispatch' && format('{0}', inputs.model) "
        "|| github.event.client_payload.model }}"
    )
    assert job["steps"][0]["name"] == "look at the model's name"
    assert "repository_dispatch" in job["steps"][0]["if"]
    assert steps(job)["build"]["env"]["SERINUS_MODEL_SOURCE"] == "${{ env.PARAM_MODEL }}"
    assert "SERINUS_MODEL_SOURCE" not in " ".join(everything(parsed(PLANS["bare"])))


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("sentiment:3", True),
        ("roberta-sequence.v2:12", True),
        ("", True),
        ("sentiment", False),
        ("sentiment:latest", False),
        ("sentiment:03", False),
        ("https://evil.example/m.onnx#sha256=0", False),
        ("../model.onnx", False),
        ("a:1\nb:2", False),
        ("$(touch pwned):1", False),
        ("Sentiment:1", False),
    ],
)
def test_only_the_name_of_a_registered_model_is_let_through(name: str, right: bool, tmp_path: Path) -> None:
    step = parsed(PLANS["ghcr"])["jobs"]["deliver"]["steps"][0]
    asked = name != ""  # the step's condition
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step["run"] if asked else "true"],
        env={"PATH": "/usr/bin:/bin", "PARAM_MODEL": name},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is right
    assert not list(tmp_path.iterdir())
    assert right or name.partition("\n")[0] not in done.stdout


def test_dependencies_are_cached_by_their_lock() -> None:
    cache = steps(parsed(PLANS["in a folder"])["jobs"]["deliver"])["actions/cache"]["with"]
    assert "hashFiles('services/senti ment/serinus.lock', " in cache["key"]
    assert cache["key"].startswith(cache["restore-keys"])
    assert "models" not in cache["path"]


def test_a_project_in_a_folder_of_its_repository() -> None:
    plan = PLANS["in a folder"]
    document = parsed(plan)
    assert filename(plan) == "deliver-sentiment.yml"
    assert document["defaults"]["run"]["working-directory"] == "services/senti ment"
    assert document["on"]["push"]["paths"][0] == "services/senti ment/**"
    assert steps(document["jobs"]["check"])["keep the report"]["with"]["path"].startswith(
        "services/senti ment/"
    )


def test_serinus_is_installed_at_its_version_or_from_a_file_with_hashes() -> None:
    run = steps(parsed(PLANS["hub"])["jobs"]["deliver"])["install Serinus"]["run"]
    assert run == f"pip install --quiet 'serinus[checks,huggingface]=={__version__}'"
    run = steps(parsed(PLANS["otherwise"])["jobs"]["deliver"])["install Serinus"]["run"]
    assert run == "pip install --quiet --require-hashes --requirement 'ci requirements.txt'"


def test_mmdebstrap_is_installed_where_the_base_is_assembled() -> None:
    assert "install mmdebstrap" in steps(parsed(PLANS["ghcr"])["jobs"]["deliver"])
    assert "install mmdebstrap" not in steps(parsed(PLANS["on another base"])["jobs"]["deliver"])


@every_plan
def test_everything_ends_in_time(name: str) -> None:
    for job in parsed(PLANS[name])["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 360


def train() -> Pipeline:
    """A pipeline with a question, and files that go from one job to the next."""
    return Pipeline(
        "train",
        (
            Step(
                "fit",
                ("python", "train.py", "--epochs", "{epochs}"),
                outputs=("model", "metrics.json"),
                retries=1,
                timeout=60.0,
            ),
            Step("agree", approve=Approval("Is $(it) good `enough`?", ("metrics.json",)), needs=("fit",)),
            Step(
                "register",
                ("serinus", "model", "register", "sentiment", "model"),
                needs=("agree",),
                when="not quick",
                secrets=("EXTRA",),
            ),
        ),
        (Parameter("epochs", 3, "int"), Parameter("quick", False, "bool"), Parameter("data")),
    )


def test_a_question_is_asked_by_an_environment_and_files_are_handed_on() -> None:
    document = parsed(Plan(train(), PROJECTS["ghcr"]))
    assert list(document["on"]) == ["workflow_dispatch"]
    assert document["on"]["workflow_dispatch"]["inputs"]["data"] == {"type": "string", "required": True}
    first, second = document["jobs"]["train"], document["jobs"]["agree"]
    assert first["timeout-minutes"] == 12
    handed_on = steps(first)["hand on what was made"]["with"]["path"]
    assert handed_on == "serinus.toml\npyproject.toml\nmodel\nmetrics.json\n"
    assert second["environment"] == "agree"
    assert second["needs"] == ["train"]
    assert second["if"] == (
        "${{ !failure() && !cancelled() && (!((github.event_name == 'workflow_dispatch' "
        "&& format('{0}', inputs.quick) || 'false') == 'true')) }}"
    )
    assert second["permissions"] == {"contents": "read", "packages": "write"}
    assert second["env"] == first["env"]
    assert "outputs" not in first  # GitHub drops those that hold a secret
    assert steps(second)["take over what train made"]["with"] == {"name": "train", "path": "."}
    assert set(steps(second)["register"]["env"]) == {"GITHUB_TOKEN", "EXTRA"}


def test_the_question_and_its_files_are_shown_before(tmp_path: Path) -> None:
    step = steps(parsed(Plan(train(), PROJECTS["ghcr"]))["jobs"]["train"])["show what is asked"]
    (tmp_path / "metrics.json").write_text('{"f1": 0.9}')
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], env=environment, cwd=tmp_path, check=True)
    shown = (tmp_path / "summary").read_text()
    assert "## Is $(it) good `enough`?" in shown
    assert '{"f1": 0.9}' in shown


def test_a_step_is_tried_again(tmp_path: Path) -> None:
    pipeline = Pipeline(
        "p",
        (Step("s", ("sh", "-c", "echo >> tries; test $(wc -l < tries) -gt {n}"), retries=2),),
        (Parameter("n", 1, "int"),),
    )
    run = steps(parsed(Plan(pipeline, PROJECTS["bare"]))["jobs"]["p"])["s"]["run"]
    for failures, code in (("2", 0), ("3", 1)):
        (tmp_path / "tries").unlink(missing_ok=True)
        environment = {"PATH": "/usr/bin:/bin", "PARAM_N": failures}
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", run], env=environment, cwd=tmp_path, check=False
        )
        assert done.returncode == code
        assert (tmp_path / "tries").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("pipeline", "environments", "why"),
    [
        (
            Pipeline("p", (Step("s", ("a",), secrets=("GITHUB_MINE",)),)),
            {},
            "the secret GITHUB_MINE cannot be kept",
        ),
        (Pipeline("p", (Step("s", ("a",)),)), {"t": "x"}, r"\[ci.environments\] has the step 't'"),
        (
            Pipeline(
                "p",
                (Step("a", ("a",)), Step("q", approve=Approval("?"), when="x")),
                (Parameter("x", True, "bool"),),
            ),
            {},
            "asks a person only when 'x'",
        ),
        (Pipeline("p", ()), {}, "it has no steps"),
        (
            Pipeline("p", (Step("s", ("a",), when="x == 'a'"),), (Parameter("x", "a"),)),
            {},
            "cannot be left to GitHub",
        ),
    ],
)
def test_what_github_cannot_do_is_an_error(
    pipeline: Pipeline, environments: dict[str, str], why: str
) -> None:
    with pytest.raises(PipelineError, match=why) as caught:
        workflow(Plan(pipeline, project(environments=environments)))
    assert caught.value.todo


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True)
odd = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
told = odd.filter(lambda text: "${{" not in text)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    chosen = draw(st.lists(st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True), unique=True, max_size=4))
    parameters = tuple(Parameter(name, draw(told), about=draw(told)) for name in chosen)
    places = st.sampled_from([f"{{{name}}}" for name in chosen] or ["x"])
    words = st.lists(odd | places | st.just("${{ secrets.A }}"), max_size=3).map(tuple)
    steps = tuple(
        Step(
            name,
            ("run", *draw(words)),
            env=draw(st.dictionaries(st.sampled_from(["A", "B"]), odd | places, max_size=2)),
        )
        for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))
    )
    return Pipeline(draw(names), steps, parameters)


@settings(max_examples=60)
@given(pipelines(), st.dictionaries(st.integers(0, 3), odd.filter(bool), max_size=2))
def test_whatever_things_are_called_the_workflow_is_yaml_without_foreign_expressions(
    pipeline: Pipeline, where: dict[int, str]
) -> None:
    environments = {pipeline.steps[n].name: env for n, env in where.items() if n < len(pipeline.steps)}
    document = parsed(Plan(pipeline, project(environments=environments)))
    jobs = [job for name, job in document["jobs"].items()]
    ran = [
        step
        for job in jobs
        for step in job["steps"]
        if "run" in step and "install Serinus" not in step["name"]
    ]
    assert [step["name"].replace("${{ '${{' }}", "${{") for step in ran] == [s.name for s in pipeline.steps]
    for step in ran:
        assert "${{" not in step["run"]
        for text in everything(step.get("env", {})):
            assert not re.search(r"\$\{\{ secrets", text.replace("${{ '${{' }}", ""))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the workflows of all plans."""
    folder = tmp_path_factory.mktemp("workflows")
    plans = {**PLANS, "train": Plan(train(), PROJECTS["ghcr"])}
    for name, plan in plans.items():
        (folder / f"{name.replace(' ', '-')}.yml").write_text(sealed(workflow(plan)))
    return folder


def test_actionlint_finds_nothing(written: Path) -> None:
    files = sorted(map(str, written.glob("*.yml")))
    done = subprocess.run(
        [BIN / "actionlint", "-no-color", *files], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0
    assert len(files) == len(PLANS) + 1


def test_actionlint_would_find_something(written: Path, tmp_path: Path) -> None:
    text = (written / "ghcr.yml").read_text().replace("env.PARAM_PUBLISH", "env_.PARAM_PUBLISH")
    (tmp_path / "wrong.yml").write_text(text)
    done = subprocess.run(
        [BIN / "actionlint", "-no-color", tmp_path / "wrong.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'undefined variable "env_"' in done.stdout


def test_zizmor_finds_no_way_in(written: Path) -> None:
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--quiet", "--no-progress", *sorted(written.glob("*.yml"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
