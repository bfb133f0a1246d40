"""The steps of a job around those of the pipeline: what they need, and what is kept of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from serinus import __version__
from serinus.pipeline import Step
from serinus.pipeline.access import Access
from serinus.pipeline.github import expressions
from serinus.pipeline.github.logins import logins
from serinus.pipeline.github.pins import used
from serinus.pipeline.github.plan import Plan
from serinus.pipeline.github.stages import Stage

CHECKS = frozenset({("serinus", "check")})
BUILDS = CHECKS | {("serinus", "build"), ("serinus", "run")}
"""Commands, by their first words, that need what builds images."""
PROJECT_FILES = ("serinus.toml", "pyproject.toml")
"""One of which is there."""
_REGISTERED_FORM = r"^[a-z0-9]+([._-][a-z0-9]+)*:[1-9][0-9]{0,8}$"
"""``NAME:VERSION`` of a registered model."""


def looked_at(plan: Plan, number: int) -> list[dict[str, Any]]:
    """Before anything else: is what came with the event the name of a registered model, and nothing else?"""
    held = plan.variables.get("model")
    if number or held is None or "client_payload" not in plan.overrides.get("model", ""):
        return []
    test = (
        f'if ! [[ "${held}" =~ {_REGISTERED_FORM} ]]; then\n'
        '  echo "::error::client_payload.model must be NAME:VERSION of a registered model"\n'
        "  exit 1\n"
        "fi\n"
    )
    return [
        {
            "name": "look at the model's name",
            "if": f"github.event_name == 'repository_dispatch' && env.{held} != ''",
            "working-directory": "/",  # that of the project is not there yet
            "run": test,
        }
    ]


def prepared(plan: Plan, steps: Iterable[Step], needed: Sequence[Access]) -> list[dict[str, Any]]:
    """The repository, Python and Serinus, what a build needs, and logins."""
    project = plan.project
    found: list[dict[str, Any]] = [
        {"uses": used("actions/checkout", plan.pins), "with": {"persist-credentials": False}},
        {"uses": used("actions/setup-python", plan.pins), "with": {"python-version": project.image.python}},
    ]
    builds = any(runs(step, BUILDS) for step in steps)
    if builds:
        found.append(_cache(plan))
    extras = {"checks"} if builds else set()
    extras |= {access.extra for access in needed if access.extra}
    found.append({"name": "install Serinus", "run": _installed(plan, sorted(extras))})
    if builds and project.image.base.startswith("debian:"):
        found.append({"name": "install mmdebstrap", "run": _MMDEBSTRAP})
    if builds:
        found.append({"name": "allow sandboxes", "run": _SANDBOXES})
    return [*found, *logins(needed, plan.pins, oidc=project.ci.oidc)]


_MMDEBSTRAP = """\
if ! command -v mmdebstrap >/dev/null; then
  sudo apt-get update -qq
  sudo apt-get install -qq --no-install-recommends mmdebstrap debian-archive-keyring >/dev/null
fi
"""
_SANDBOXES = """\
# Ubuntu 24.04 lets programs make user namespaces only by name, and bubblewrap is not among them.
if [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ]; then
  sudo sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0
fi
"""


def runs(step: Step, commands: Collection[tuple[str, ...]]) -> bool:
    """Whether a step's command is one of these."""
    return step.command[:2] in commands


def _cache(plan: Plan) -> dict[str, Any]:
    """What builds fetch and install, kept from one run to the next; models are too large for it."""
    files = ["serinus.lock", plan.project.image.requirements or "requirements.txt", *PROJECT_FILES]
    beside = f"{plan.folder}/" if plan.folder else ""
    hashed = ", ".join(expressions.string(f"{beside}{file}") for file in files)
    key = f"serinus-{__version__}-${{{{ runner.os }}}}-${{{{ runner.arch }}}}-"
    return {
        "uses": used("actions/cache", plan.pins),
        "with": {
            "path": "~/.cache/serinus/bases\n~/.cache/serinus/layers\n~/.cache/serinus/trees\n",
            "key": f"{key}${{{{ hashFiles({hashed}) }}}}",
            "restore-keys": key,
        },
    }


def _installed(plan: Plan, extras: Sequence[str]) -> str:
    if file := plan.project.ci.requirements:
        return expressions.script(
            ("pip", "install", "--quiet", "--require-hashes", "--requirement", file), {}
        )
    wanted = f"[{','.join(extras)}]" if extras else ""
    return expressions.script(("pip", "install", "--quiet", f"serinus{wanted}=={__version__}"), {})


def _beside(plan: Plan, path: str) -> str:
    return f"{plan.folder}/{path}" if plan.folder else path


def report(plan: Plan) -> dict[str, Any]:
    """The report of the checks, kept beside the run whether they passed or not."""
    return {
        "name": "keep the report",
        "if": "${{ !cancelled() }}",
        "uses": used("actions/upload-artifact", plan.pins),
        "with": {
            "name": "report",
            "path": _beside(plan, ".serinus/report.html"),
            "include-hidden-files": True,
            "if-no-files-found": "ignore",
            "overwrite": True,
        },
    }


def handed_on(plan: Plan, stage: Stage, later: Sequence[Stage]) -> list[Any]:
    """What the steps made, for the jobs behind; and what a person is asked, with the files to be seen."""
    found: list[Any] = []
    if later and later[0].asked:
        asked = later[0].asked
        words = [asked.question, *asked.show]
        show = " ".join(expressions.script((word,), {}) for word in words)
        found.append({"name": "show what is asked", "run": _SHOW.replace("WORDS", show)})
    if later and stage.outputs:
        # The project file is among them so that all paths are kept from the project's folder on.
        paths = [_beside(plan, path) for path in (*PROJECT_FILES, *stage.outputs)]
        found.append(
            {
                "name": "hand on what was made",
                "uses": used("actions/upload-artifact", plan.pins),
                "with": {
                    "name": stage.job,
                    "path": "".join(f"{path}\n" for path in paths),
                    "include-hidden-files": True,
                    "overwrite": True,
                },
            }
        )
    return found


_SHOW = """\
# shellcheck disable=SC2016  # these are texts, in which nothing is to be expanded
set -- WORDS
{
  printf '## %s\\n' "$1"
  shift
  for file; do
    case "$file" in
      *.json | *.txt | *.md | *.csv) printf '\\n%s\\n\\n~~~text\\n%s\\n~~~\\n' "$file" "$(cat "$file")" ;;
      *) printf '\\n%s is among the artifacts of this run\\n' "$file" ;;
    esac
  done
} >>"$GITHUB_STEP_SUMMARY"
"""


def taken_over(plan: Plan, number: int) -> list[dict[str, Any]]:
    """What the steps of the jobs before have made."""
    return [
        {
            "name": f"take over what {stage.job} made",
            "uses": used("actions/download-artifact", plan.pins),
            "with": {"name": stage.job, "path": plan.folder or "."},
        }
        for stage in plan.stages[:number]
        if stage.outputs
    ]
