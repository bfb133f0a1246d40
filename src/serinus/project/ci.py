"""The table ``[ci]``: what a workflow for GitHub Actions has that no other table says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serinus.project.declare import key as _key
from serinus.project.declare import texts as _texts
from serinus.project.pipelines import NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Ci:
    """What `serinus ci github` writes."""

    branch: str = _key("main", min_length=1)
    """Branch whose pushes are delivered."""
    runner: str = _key("ubuntu-latest", min_length=1)
    """Label of the runner."""
    requirements: str | None = _key(None, inside=True)
    """File of requirements with hashes that Serinus is installed from; default its version from the index."""
    oidc: bool = _key(True)
    """Whether Azure, AWS and Google are logged in to by OpenID Connect, without a secret; otherwise with the
    secrets that `serinus ci github --secrets` names."""
    pins: str | None = _key(None, inside=True)
    """File of actions, `OWNER/ACTION@COMMIT # VERSION` a line, whose commits go before Serinus' own."""
    environments: Mapping[str, str] = _texts(names=NAMES)
    """Step of the pipeline -> environment at GitHub: the step and those behind it become a job of their own,
    which begins when the environment's reviewers agree. Default for an approval: its name."""
