"""What is news of a model, and that each piece of news leads to one trigger."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import ModelError
from serinus.pipeline.triggers import Ledger, Stage, Subject, news

VERSIONS = Subject("mood")
ALIAS = Subject("mood", "production")


@given(st.lists(st.sets(st.integers(1, 30))))
def test_each_version_is_news_once_however_the_looks_fall(arrivals: Sequence[set[int]]) -> None:
    """Whatever has come between two looks, each version above all that was seen is told of once, in order."""
    there: set[int] = set()
    _, seen = news(VERSIONS, None, ())
    told: list[int] = []
    for more in arrivals:
        there |= more
        fresh, seen = news(VERSIONS, seen, sorted(there))
        told += fresh
    assert len(told) == len(set(told))
    assert told == sorted(told)
    assert seen == max(there, default=0)


@given(st.lists(st.integers(1, 5) | st.none()))
def test_an_alias_is_news_when_it_points_elsewhere(pointed: Sequence[int | None]) -> None:
    seen, expected, last = 0, [], 0
    told: list[int] = []
    for target in pointed:
        fresh, seen = news(ALIAS, seen, () if target is None else (target,))
        told += fresh
        if target is not None and target != last:
            expected.append(target)
        last = target or 0
    assert told == expected


@given(st.lists(st.integers(1, 9)))
def test_what_is_there_at_the_first_look_is_no_news(found: list[int]) -> None:
    assert news(VERSIONS, None, found) == ((), max(found, default=0))
    assert news(ALIAS, None, found[:1])[0] == ()


def test_a_subject_is_read_as_it_is_written() -> None:
    assert Subject.parse("mood") == VERSIONS
    assert str(Subject.parse("mood@production")) == "mood@production"
    for wrong in ("Mood", "mood:3", "mood@", "@production", ""):
        with pytest.raises(ModelError):
            Subject.parse(wrong)


def test_a_version_leads_to_one_trigger_however_it_is_heard_of(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.saw("deliver", VERSIONS, (1, 2)) == ()
    assert ledger.told("deliver", "mood:3")
    assert ledger.saw("deliver", VERSIONS, (1, 2, 3, 4)) == ("mood:4",)
    assert not ledger.told("deliver", "mood:4")
    assert ledger.told("other", "mood:4")
    assert [one.model for one in ledger.latest()] == ["mood:4", "mood:4", "mood:3"]


def test_an_alias_may_come_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for target in (1, 2, 1):
        ledger.saw("deliver", ALIAS, (target,), {"tag": "x"})
    assert [(one.model, one.cause, one.params) for one in reversed(ledger.latest())] == [
        ("mood:2", "mood@production", {"tag": "x"}),
        ("mood:1", "mood@production", {"tag": "x"}),
    ]


def test_all_that_is_there_is_news_where_that_is_asked_for(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.saw("deliver", VERSIONS, (1, 2), everything=True) == ("mood:1", "mood:2")
    assert ledger.saw("deliver", VERSIONS, (1, 2), everything=True) == ()


def test_what_is_seen_and_what_follows_outlive_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.saw("deliver", VERSIONS, (1,))
    ledger.saw("deliver", VERSIONS, (1, 2, 3))
    ledger.close()
    again = Ledger(tmp_path)
    assert again.saw("deliver", VERSIONS, (1, 2, 3)) == ()
    first = again.pending()
    assert first is not None
    assert (first.model, first.stage) == ("mood:2", Stage.PENDING)
    again.settle(first, "deliver-1", Stage.DONE)
    second = again.pending()
    assert second is not None
    assert second.model == "mood:3"


def test_several_watchers_make_one_trigger(tmp_path: Path) -> None:
    Ledger(tmp_path).saw("deliver", VERSIONS, ())
    found: list[str] = []

    def look() -> None:
        ledger = Ledger(tmp_path)
        for highest in range(1, 11):
            found.extend(ledger.saw("deliver", VERSIONS, range(1, highest + 1)))
        ledger.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=lambda model: int(model.split(":")[1])) == [f"mood:{n}" for n in range(1, 11)]
