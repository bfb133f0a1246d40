"""From the project file to ``service.json``: what the server is told is what was set."""

from __future__ import annotations

from pathlib import Path

import pytest

from serinus.image.settings import settings
from serinus.project import Project
from serinus.serving import Settings


@pytest.mark.parametrize(
    ("lines", "inference", "threads"),
    [
        ("", "auto", None),
        ('inference = "loop"', "loop", None),
        ('inference = "threads"\nthreads = 3', "threads", 3),
        ("threads = 1", "auto", 1),
    ],
)
def test_the_server_is_told_where_predictions_are_computed(
    tmp_path: Path, lines: str, inference: str, threads: int | None
) -> None:
    (tmp_path / "serinus.toml").write_text(f'[service]\nname = "x"\nentrypoint = "s:f"\n{lines}\n')
    told = settings(Project.load(tmp_path), model=None, contract=None).to_json()
    read = Settings.from_json(told)
    assert (read.inference, read.threads) == (inference, threads)
