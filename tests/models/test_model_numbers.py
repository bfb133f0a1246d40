"""Numbers of versions in a registry that cannot compare and swap: every interleaving."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.errors import ModelError
from serinus.models import numbers
from serinus.models.numbers import Answer, Claim, allocation, claim_of, decide, highest, spent

SETTLE = 8.0


@dataclass
class Client:
    """One registration: the protocol, what it is asked to do now, and until when that takes."""

    name: int
    protocol: object
    ask: object = None
    got: Claim | None = None
    dead: bool = False
    wrote: list[int] = field(default_factory=list)


class World:
    """A registry whose lists are up to date, and clients whose requests take as long as the test says.

    Of a request three moments count: when it is begun, when the registry does it, and when the answer is
    there. A push is done within half of the settle time after it was begun, or never.
    """

    def __init__(self, delays: Callable[[float], float], ids: list[str], crashes: set[int]) -> None:
        self.tags: dict[str, tuple[int, str]] = {}
        self.overwritten: list[str] = []
        self._delays = delays
        self._ids = iter(ids)
        self._crashes = crashes
        self._count = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self.clients: list[Client] = []

    def start(self, at: float) -> None:
        client = Client(len(self.clients), allocation(lambda: next(self._ids), SETTLE))
        self.clients.append(client)
        self._at(at, lambda now: self._go_on(client, None, now))

    def run(self) -> None:
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._count), event))

    def _go_on(self, client: Client, answer: Answer | None, now: float) -> None:
        try:
            ask = next(client.protocol) if answer is None else client.protocol.send(answer)
        except StopIteration as end:
            client.got = end.value
            return
        if next(self._count) in self._crashes:
            client.dead = True  # killed; what it had begun before is done
            return
        self._do(client, ask, now)

    def _do(self, client: Client, ask: object, began: float) -> None:
        """Carry out what a client wants: at one moment the registry does it, at a later one it is told."""
        if isinstance(ask, numbers.Sleep):
            self._at(began + ask.seconds, lambda now: self._go_on(client, Answer(began), now))
            return
        # The client looks at its clock, and may be held up before it really sends.
        sent = began + self._delays(SETTLE)
        if isinstance(ask, numbers.Take):
            self._at(sent, lambda now: self._take(client, ask, now))
            return
        done = sent + self._delays(3 * SETTLE)
        answer: list[Answer] = []
        self._at(done, lambda now: answer.append(self._answer(client, ask, began)))
        told = done + self._delays(3 * SETTLE)
        self._at(told, lambda now: self._go_on(client, answer[0], now))

    def _take(self, client: Client, ask: numbers.Take, sent: float) -> None:
        if sent > ask.not_after:
            self._go_on(client, Answer(sent, done=False), sent)
            return
        done = sent + self._delays(SETTLE / 2)
        fate = self._delays(1.0)  # mostly all is well; the answer is lost, or the request is
        if fate < 0.99:
            self._at(done, lambda now: self._write(client, ask.claim))
        lost = fate > 0.4
        # Who gives up may do so before the registry has done it.
        told = sent + self._delays(SETTLE / 2) if lost else done + self._delays(SETTLE)
        in_time = told - sent <= SETTLE / 2 and not lost
        self._at(told, lambda now: self._go_on(client, Answer(sent, done=in_time), now))

    def _write(self, client: Client, claim: Claim) -> None:
        tag = str(claim.number)
        before = self.tags.get(tag)
        if before is not None and before != (client.name, claim.id):
            self.overwritten.append(tag)
        self.tags[tag] = (client.name, claim.id)
        client.wrote.append(claim.number)

    def _answer(self, client: Client, ask: object, began: float) -> Answer:
        match ask:
            case numbers.Look():
                return Answer(began, tags=tuple(self.tags))
            case numbers.Put(claim):
                self.tags[claim.tag] = (client.name, claim.id)
            case numbers.Drop(claim):
                self.tags.pop(claim.tag, None)
            case numbers.Read(claim):
                ours = self.tags.get(str(claim.number)) == (client.name, claim.id)
                return Answer(began, done=ours)
        return Answer(began)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Clients that begin at about the same time; each step mostly quick, now and then as slow as may be."""
    chance = random.Random(draw(st.integers(0, 2**48)))
    slow = chance.choice([0.02, 0.1, 0.3])

    def delays(longest: float) -> float:
        if chance.random() > slow:
            return longest * chance.random() * 0.02
        return longest * chance.choice([0.25, 0.49, 0.5, 0.51, 0.99, 1.0, chance.random()])

    ids = [f"{number:08x}" for number in chance.sample(range(10_000), 2_000)]
    crashes = {chance.randrange(60) for _ in range(draw(st.sampled_from([0, 0, 1, 2])))}
    world = World(delays, ids, crashes)
    spread = draw(st.sampled_from([0.0, 0.1, SETTLE, 2 * SETTLE]))
    for _ in range(draw(st.integers(1, 5))):
        world.start(chance.random() * spread)
    return world


@settings(max_examples=3000)
@given(worlds())
def test_no_number_is_given_twice_whatever_the_order_and_whoever_is_killed(world: World) -> None:
    world.run()
    assert not world.overwritten
    done = [c for c in world.clients if not c.dead]
    assert all(c.got is not None for c in done)
    taken = [c.got.number for c in done if c.got]
    assert len(set(taken)) == len(taken)
    for client in done:
        assert client.got is not None
        assert world.tags[str(client.got.number)] == (client.name, client.got.id)
        assert client.wrote == [client.got.number]


@given(worlds())
def test_a_number_is_higher_than_all_that_were_there_before(world: World) -> None:
    world.tags["7"] = (-1, "x")
    world.tags["_9-00000000"] = (-1, "y")
    world.run()
    assert all(c.got.number > 9 for c in world.clients if c.got)


def test_the_simulation_can_find_a_protocol_that_is_wrong() -> None:
    """Two who do not wait take the same number: the world above notices."""
    world = World(lambda longest: 0.0, ["b" * 8, "a" * 8], set())
    world._write(Client(0, None), Claim(1, "a" * 8))
    world._write(Client(1, None), Claim(1, "b" * 8))
    assert world.overwritten == ["1"]


def drive(tags: list[str], settle: float = SETTLE) -> tuple[list[object], Claim]:
    """The protocol alone with these tags: what it asked for, and what came of it."""
    asked: list[object] = []
    protocol = allocation(lambda: "c" * 8, settle)
    answer: Answer | None = None
    there = list(tags)
    while True:
        try:
            ask = next(protocol) if answer is None else protocol.send(answer)
        except StopIteration as end:
            return asked, end.value
        asked.append(ask)
        if isinstance(ask, numbers.Put):
            there.append(ask.claim.tag)
        answer = Answer(0.0, tags=tuple(there))


def test_alone_it_takes_the_number_without_waiting() -> None:
    asked, claim = drive(["1", "2", "production", "_2-deadbeef"])
    assert claim.number == 3
    assert not any(isinstance(a, numbers.Sleep) for a in asked)
    assert [type(a).__name__ for a in asked] == ["Look", "Put", "Look", "Take", "Read"]


def test_a_registry_that_lists_late_is_told_and_not_relied_on() -> None:
    protocol = allocation(lambda: "c" * 8, SETTLE)
    ask = next(protocol)
    with pytest.raises(ModelError, match=r"does not list the tag _1-cccccccc"):
        while True:
            ask = protocol.send(Answer(0.0, tags=()))
    assert isinstance(ask, numbers.Look)


def test_who_is_always_too_slow_gives_up_and_says_so() -> None:
    protocol = allocation(lambda: "c" * 8, SETTLE)
    tags: list[str] = []
    ask = next(protocol)
    with pytest.raises(ModelError, match="50 times"):
        while True:
            if isinstance(ask, numbers.Put):
                tags.append(ask.claim.tag)
            late = isinstance(ask, numbers.Take | numbers.Read)
            ask = protocol.send(Answer(0.0, tags=tuple(tags), done=not late))


MINE = Claim(3, "5" * 8)


@pytest.mark.parametrize(
    ("others", "waited", "verdict"),
    [
        ((), False, "push"),
        (("3",), False, "again"),
        (("_3-44444444",), False, "again"),
        (("_3-66666666",), False, "wait"),
        (("_3-66666666",), True, "push"),
        (("_3-66666666", "3"), True, "again"),
        (("_3-66666666", "_3-44444444"), True, "again"),
        (("_4-00000000", "_2-00000000"), False, "push"),
    ],
)
def test_what_follows_from_the_tags(others: tuple[str, ...], waited: bool, verdict: str) -> None:
    assert decide((MINE.tag, *others, "production"), MINE, waited=waited) == verdict


OTHERS = ["1", "2", "production", "_1-deadbeef", "_2-cafecafe", "_9-00000000", "sha256-00", "0", "_x"]


@given(st.lists(st.sampled_from(OTHERS)), st.integers(1, 999_999_999), st.integers(0, 2**64 - 1))
def test_a_claim_is_read_as_it_was_written(tags: list[str], number: int, key: int) -> None:
    claim = Claim(number, f"{key:016x}")
    assert claim_of(claim.tag) == claim
    assert highest([*tags, claim.tag]) == max(number, highest(tags))


def test_spent_claims_go_and_the_highest_stays() -> None:
    owners = {1: "aaaaaaaa", 2: "bbbbbbbb", 3: "cccccccc"}
    tags = ["1", "2", "3", "_1-aaaaaaaa", "_2-ffffffff", "_2-bbbbbbbb", "_3-cccccccc", "_1-00000000"]
    assert spent(tags, owners.__getitem__) == (Claim(1, "aaaaaaaa"), Claim(2, "bbbbbbbb"))
    assert spent(["1", "_1-aaaaaaaa"], owners.__getitem__) == ()
    assert spent(["_1-aaaaaaaa", "_2-bbbbbbbb"], owners.__getitem__) == ()
