"""The project: a folder with a ``serinus.toml``, as a frozen value.

The tables and keys are declared here, each with its rule in the field's metadata and its documentation in the
string under it; ``docs/reference/project-file.md`` is made from this module. ``file`` reads them by pydantic,
and keeps what it found valid, because importing pydantic takes longer than the whole rest of a small build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serinus.project.ci import Ci
from serinus.project.declare import inner as inner
from serinus.project.declare import key as _key
from serinus.project.pipelines import NAMES, PipelineTable
from serinus.project.service import Service

FILE = "serinus.toml"
RESERVED = ("/healthz", "/readyz", "/metrics", "/openapi.json")
"""Routes that the server answers itself, beside everything under ``/v2``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model: where it comes from, and where the service finds it."""

    source: str | None = _key(None, min_length=1)
    """Where the model comes from: a file or a folder, relative to the project; an id in the model registry,
    `"sentiment:3"` or `"sentiment@production"`; or a URI, see [model sources](../how-to/model-sources.md).
    Default: `model.path`."""
    path: str | None = _key(None, inside=True)
    """Where the service finds the model, relative to its working directory. Default: `model.source`; of a
    model from elsewhere the name of its file, or its own name where it has several files."""
    digest: str | None = _key(None, pattern=r"^sha256:[0-9a-f]{64}$")
    """What the model must be: the digest of its file, or of its folder as `serinus check` says it; see the
    check `model.digest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The model registry."""

    registry: str = _key("oci:.serinus/models", min_length=1)
    """Where models are registered: `oci:FOLDER`, an OCI layout relative to the project, or the beginning of
    the repositories in an OCI registry, `ghcr.io/acme/models`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFiles:
    """Where the contract stands, if it is not inferred from a typed function or an ONNX file."""

    request: str | None = _key(None, inside=True)
    """File with the JSON Schema of a request."""
    response: str | None = _key(None, inside=True)
    """File with the JSON Schema of a response."""
    examples: str | None = _key(None, inside=True)
    """File with examples, one `{"request": ..., "response": ...}` a line; the response may be left out.
    Default: `examples.jsonl` if there is one."""
    openapi: str | None = _key(None, inside=True)
    """File with the app's own OpenAPI 3 description in JSON; the contract is that of `service.route`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """How the image is built, and what it is called."""

    repository: str | None = _key(None, min_length=1)
    """Where `serinus publish` pushes to when no reference is given: `ghcr.io/acme/sentiment`."""
    base: str = _key("debian:bookworm", min_length=1)
    """Base image: `debian:SUITE` assembled from packages, a registry reference, or `oci:PATH[:TAG]`."""
    python: str = _key("3.11", pattern=r"^3\.\d+$")
    """Minor version of the base's Python, for which the dependencies are locked."""
    requirements: str | None = _key(None, inside=True)
    """File with the dependencies: requirements lines, or a `pyproject.toml`. Default: `requirements.txt` if
    there is one."""
    platforms: tuple[str, ...] = _key(("linux/amd64",), min_length=1, each=r"^linux/[a-z0-9_]+(?:/v\d+)?$")
    """Platforms to build for; more than one makes an index."""
    ignore: tuple[str, ...] = _key(())
    """Patterns of files that stay out of the image, beside `.serinusignore` and the defaults."""
    allow_secrets: tuple[str, ...] = _key(())
    """Patterns of files that look like secrets and are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyChecks:
    """Bounds of the checks of the dependencies."""

    forbidden_licences: tuple[str, ...] = _key(())
    """SPDX identifiers of licences that no installed package may have; `*` is anything: `"AGPL-*"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChecks:
    """Bounds of the checks of the model."""

    forbid_pickle: bool = _key(False)
    """Whether a pickled model is a failure: loading one runs whatever code it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportChecks:
    """Bounds of the checks of the way there and back."""

    ready: float = _key(60.0, unit="seconds", gt=0)
    """Longest time from the start to readiness, in seconds or like `"60s"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractChecks:
    """Bounds of the checks of the contract."""

    requests: int = _key(50, ge=1, le=10_000)
    """Requests that are generated from the request schema."""
    seed: int = _key(0, ge=0)
    """Of the generated requests: the same seed, the same requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourChecks:
    """Bounds of the checks of what the service answers."""

    tolerance: float = _key(1e-4, ge=0)
    """Numbers of two answers are equal within this, relative or absolute."""
    batch_tolerance: float = _key(0.05, ge=0)
    """The same for an answer from a batch: quantised models round differently there."""
    invariant: tuple[str, ...] = _key((), each=r"^(?:case|whitespace|typos)$")
    """Changes of a request's texts that must not change the prediction: `case`, `whitespace`, `typos`."""
    flips: tuple[str, ...] = _key((), each=r"^negation$")
    """Changes that must change the prediction: `negation` (`is` becomes `is not`)."""
    allowed: float = _key(0.0, ge=0, le=1)
    """Share of the changed requests of one kind that may behave otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityChecks:
    """Bounds of the checks of how good the predictions are."""

    metric: str = _key("accuracy", pattern=r"^(?:accuracy|f1|auc|rmse|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")
    """`accuracy`, `f1` (macro average over the labels), `auc`, `rmse`, or `module:function` of the
    project's own: it takes the labels and the predictions and gives a number, the higher the better."""
    score: str | None = _key(None, pattern=r"^(?:/.*)?$")
    """JSON Pointer to the number by which `auc` ranks; default `checks.prediction`."""
    floor: float | None = _key(None)
    """Worst value of the metric that passes; for `rmse`, which is better when lower, the highest."""
    slice_floor: float | None = _key(None)
    """The same for every slice of the labelled data with at least 30 rows."""
    alpha: float = _key(0.01, gt=0, lt=0.5)
    """Chance that a version no worse than the one in charge is called worse, over all slices together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftChecks:
    """Bounds of the checks of how predictions and inputs are distributed."""

    reference: str | None = _key(None, inside=True)
    """File of requests, with their responses where known, `{"request": ..., "response": ...}` a line:
    `drift.inputs` compares requests with it, and `drift.reference` predictions."""
    alpha: float = _key(0.01, gt=0, lt=0.5)
    """Chance that two samples of the same distribution are called different, over all features together."""
    fail: bool = _key(False)
    """Whether drift is a failure; otherwise it is a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedChecks:
    """Budgets of the checks of time and memory."""

    p50: float | None = _key(None, unit="seconds", gt=0)
    """Longest median of the latencies at one connection, in seconds or like `"20ms"`."""
    p95: float | None = _key(None, unit="seconds", gt=0)
    """The same for the 95th percentile."""
    p99: float | None = _key(None, unit="seconds", gt=0)
    """The same for the 99th percentile, under an open load of half of what the service can do."""
    throughput: float | None = _key(None, gt=0)
    """Fewest answers per second under a closed load."""
    cold_start: float | None = _key(None, unit="seconds", gt=0)
    """Longest time from the start of a replica to its readiness."""
    memory: int | None = _key(None, unit="bytes", gt=0)
    """Most memory of a replica after the load, in bytes or like `"512MiB"`."""
    leak: int = _key(64 << 10, unit="bytes", gt=0)
    """Most that memory may grow with each request, once the service is warm."""
    ratio: float = _key(1.5, gt=1)
    """Most that latency, and least as its inverse that throughput, may differ from the version in charge."""
    seconds: float = _key(2.0, unit="seconds", gt=0, le=600)
    """How long each kind of load lasts."""
    connections: int = _key(16, ge=1, le=1024)
    """Connections of the closed load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChecks:
    """Bounds of the checks of the image."""

    size: int | None = _key(None, unit="bytes", gt=0)
    """Most bytes of its layers as they are stored, or like `"500MiB"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestChecks:
    """The project's own pytest tests."""

    path: str = _key("tests", inside=True)
    """File or folder that pytest collects from, if it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What the checks look at and hold to; a table below for each layer."""

    skip: tuple[str, ...] = _key(())
    """Checks that are not run, by id or layer; the report says so."""
    warn: tuple[str, ...] = _key(())
    """Checks whose failure is a warning, by id or layer."""
    labelled: str | None = _key(None, inside=True)
    """File of labelled data, `{"request": ..., "label": ..., "slice": {"source": "film"}}` a line; `slice`
    may be left out. Default: `labelled.jsonl` if there is one."""
    prediction: str = _key("", pattern=r"^(?:/.*)?$")
    """JSON Pointer to the prediction in a response; the whole response by default."""
    against: str | None = _key(None, min_length=1)
    """The version in charge, to compare with: an image by tag, `oci:PATH[:TAG]` or reference."""
    dependencies: DependencyChecks = DependencyChecks()
    model: ModelChecks = ModelChecks()
    transport: TransportChecks = TransportChecks()
    contract: ContractChecks = ContractChecks()
    behaviour: BehaviourChecks = BehaviourChecks()
    quality: QualityChecks = QualityChecks()
    drift: DriftChecks = DriftChecks()
    speed: SpeedChecks = SpeedChecks()
    image: ImageChecks = ImageChecks()
    tests: PytestChecks = PytestChecks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """What an image must have shown before it goes anywhere."""

    require: tuple[str, ...] = _key(())
    """Checks, by id or layer, that the image's report must show as passed; otherwise `serinus publish` and
    `serinus deploy` refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What a shadow must show: the candidate's answers beside those that stable gave to the same requests."""

    mirror: float = _key(100.0, gt=0, le=100)
    """Share of the requests that are mirrored, in per cent."""
    answers: int = _key(300, ge=1)
    """Answers that are compared before it goes on."""
    agreement: float = _key(0.99, gt=0, le=1)
    """Least share of the compared answers that are equal, within `checks.behaviour.tolerance`."""
    then: str = _key("wait", pattern=r"^(?:wait|canary)$")
    """What follows: `wait` for a person, whose `serinus promote` goes on as a canary, or `canary` at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a new version gets the traffic."""

    strategy: str = _key("canary", pattern=r"^(?:canary|blue-green|shadow)$")
    """`canary`: growing shares of the traffic. `blue-green`: all at once, after the examples were answered
    through the router. `shadow`: copies of requests, whose answers nobody gets."""
    steps: tuple[float, ...] = _key((1.0, 5.0, 25.0, 50.0, 100.0), min_length=1)
    """Shares of the traffic of a canary in per cent, growing, the last one 100."""
    gates: tuple[float, ...] = _key(())
    """Steps before which a person must say `serinus promote`."""
    minimum: float = _key(30.0, unit="seconds", ge=0)
    """Shortest time at each step, in seconds or like `"1m"`."""
    bake: float = _key(600.0, unit="seconds", ge=0)
    """Time after 100 % in which the version is judged on and the one before stays warm."""
    margin: float = _key(0.01, gt=0, lt=1)
    """How much worse than stable's the candidate's share of failed answers may be for a step to be left."""
    alpha: float = _key(0.01, gt=0, lt=0.5)
    """Chance that a candidate no worse than stable is sent back, over the whole rollout and all metrics; and
    the chance of each step's promise being wrong."""
    errors: float | None = _key(None, ge=0, lt=1)
    """Share of the candidate's answers that may be errors, whatever stable does."""
    violations: float | None = _key(None, ge=0, lt=1)
    """Share of the candidate's answers that may break the contract, whatever stable does."""
    slow: str = _key("hold", pattern=r"^(?:hold|abort|ignore)$")
    """What happens when the candidate has more slow answers than stable: those that take a fifth and a
    millisecond longer than stable's 95th percentile."""
    drift: str = _key("hold", pattern=r"^(?:hold|abort|ignore)$")
    """What a difference between the predictions of candidate and stable does."""
    timeout: float | None = _key(None, unit="seconds", gt=0)
    """Longest time for the candidate's answer before stable is asked; default ten times stable's 95th
    percentile, at least one second, at most `service.deadline`."""
    idempotent: bool = _key(True)
    """Whether a request may be asked a second time, of stable, when the candidate had it and failed.
    Otherwise only requests that never reached the candidate are rescued."""
    sticky: str | None = _key(None, pattern=r"^(?:header|cookie):[A-Za-z0-9_-]+$")
    """`header:NAME` or `cookie:NAME`: callers with the same value get the same version."""
    webhooks: tuple[str, ...] = _key((), each=r"^(?:slack:)?(?:https?://|env:[A-Za-z_]\w*$)\S*$")
    """URLs that are told each event as JSON; `slack:URL` in the form that Slack reads, `env:NAME` takes the
    URL from that variable."""
    shadow: Shadow = Shadow()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where versions run: what `serinus up` starts."""

    name: str | None = _key(None, pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$")
    """Name of the environment; default that of the service."""
    host: str = _key("127.0.0.1", min_length=1)
    """Address at which callers are served; `"0.0.0.0"` is every one."""
    port: int | None = _key(None, ge=1, le=65535)
    """Port at which callers are served; default `service.port`."""
    control: int = _key(9670, ge=1, le=65535)
    """Port of the control API, on loopback."""
    runtime: str = _key("sandbox", pattern=r"^(?:sandbox|docker|podman)$")
    """What runs the replicas."""
    replicas: int = _key(1, ge=1, le=64)
    """Replicas of each version."""
    memory: int | None = _key(None, unit="bytes", gt=0)
    """Most memory of a replica, in bytes or like `"2GiB"`."""
    cpus: float | None = _key(None, gt=0)
    """Most processors of a replica; docker and podman have it."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model from elsewhere as it lies on this machine: what ``models.fetch`` gives back."""

    path: Path
    """Its file, or its folder."""
    name: str
    """Where the service finds it if `model.path` does not say it."""
    uri: str
    """Names exactly this model, and no secret is in it."""
    digest: str
    """Of its content: that of its file, or over its files as the model registry has it."""
    manifest: str = ""
    """Digest of its manifest, where it is an OCI artifact."""
    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Path below the model's folder -> hexadecimal SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: its folder, and what its file says, as plain values; :meth:`load` checks them."""

    root: Path
    service: Service
    model: Model = Model()
    models: Models = Models()
    contract: ContractFiles = ContractFiles()
    image: Image = Image()
    checks: Checks = Checks()
    deploy: Deploy = Deploy()
    rollout: Rollout = Rollout()
    environment: Environment = Environment()
    ci: Ci = Ci()  # noqa: RUF009  it is frozen
    pipeline: Mapping[str, PipelineTable] = field(default_factory=dict, hash=False)
    fetched: Fetched | None = None
    """The model, once it was fetched; no key of the file. Whoever holds this project works with that one."""

    @classmethod
    def load(cls, path: str | Path = ".") -> Project:
        """Read a project.

        Args:
            path: the project's folder, its ``serinus.toml``, or a ``pyproject.toml`` with ``[tool.serinus]``.

        Raises:
            ProjectError: no file, not TOML, or a wrong key: with its line, what was found and expected.
        """
        from serinus.project.file import load

        return load(Path(path))


TABLES: dict[str, type] = {
    "service": Service,
    "model": Model,
    "models": Models,
    "contract": ContractFiles,
    "image": Image,
    "checks": Checks,
    "deploy": Deploy,
    "rollout": Rollout,
    "environment": Environment,
    "ci": Ci,
}
"""The tables of the project file, by name. A key whose value is such a class too is a table below its own."""

NAMED: dict[str, tuple[type, str, str]] = {"pipeline": (PipelineTable, "NAME", NAMES)}
"""Tables of tables under names that the project chooses: the class of each, what stands for a name in the
documentation, and the pattern of names."""
