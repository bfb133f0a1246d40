"""The flow of a build: a project becomes an image in a layout.

:func:`build` reads as the list of its stages. Whatever takes long runs beside the others: the service's module
is imported, the model packed and the base brought at the same time. A tag is moved last, when all that the
image needs is in the layout; a build that fails or is interrupted leaves the tag where it was, and what it had
written so far is dropped by a later build.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from serinus import __version__
from serinus.contract import Contract
from serinus.errors import BuildError, ProjectError
from serinus.events import Observer, ignore
from serinus.files import cache_folder, write_atomically
from serinus.image import (
    CONTRACT,
    LIBRARY,
    SETTINGS,
    WORKDIR,
    Base,
    Built,
    Layer,
    base,
    contracts,
    install,
    secrets,
    select,
)
from serinus.image import lock as locks
from serinus.image import manifest as manifests
from serinus.image import sbom as sboms
from serinus.image.cache import layer_key
from serinus.image.layers import Item
from serinus.image.runtime import runtime_files
from serinus.image.stages import FOLDER, Gathered, Workshop, workshop
from serinus.image.uv import Uv, uv
from serinus.project import Project
from serinus.registry import Descriptor, Platform
from serinus.registry.layout import Layout
from serinus.serving import Settings

_T = TypeVar("_T")


class ResolveBase(Protocol):
    """Brings a base image into a layout: ``base.resolve``, or another."""

    def __call__(
        self,
        reference: str,
        platform: Platform,
        layout: Layout,
        *,
        python: str | None,
        locked: str | None,
        strict: bool,
        refresh: bool,
        root: Path | None,
        cache: Path | None,
        observer: Observer,
    ) -> Base:
        """The base for a platform, as :func:`serinus.image.base.resolve` says."""
        ...


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where the model is, and where it goes."""

    source: Path
    """File or folder on this machine."""
    path: str
    """Relative to the working directory of the service."""


def layout_of(project: Project) -> Layout:
    """The layout in the project's folder that images are built into."""
    return Layout(project.root / FOLDER / "layout")


def build(
    project: Project,
    *,
    layout: Layout | None = None,
    locked: bool = False,
    upgrade: bool = False,
    platforms: Sequence[str] | None = None,
    tag: str = "latest",
    cache: Path | None = None,
    observer: Observer = ignore,
    resolve_base: ResolveBase = base.resolve,
    run_uv: Uv = uv,
    interpreter: contracts.Interpreter = contracts.find_interpreter,
    told: Mapping[str, str] | None = None,
) -> Built:
    """Build a project's image.

    Args:
        project: what to build.
        layout: where to; default :func:`layout_of`.
        locked: fail where ``serinus.lock`` is missing or out of date, or the base is not the locked one.
        upgrade: resolve the lock and the base anew.
        platforms: ``linux/amd64`` and the like; default those of the project. More than one makes an index.
        tag: the image is tagged ``NAME:TAG``.
        cache: the user's cache folder; default :func:`serinus.files.cache_folder`.
        observer: told of each stage, from several threads.
        resolve_base: brings the base image.
        run_uv: runs uv.
        interpreter: finds the Python that imports the service.
        told: standard annotations by short name (``version``, ``source``, ``revision``).

    Returns:
        What was built.

    Raises:
        BuildError: something cannot be built; LockError, BaseError and SecretFound among them.
        ContractError: the contract cannot be had, or an example breaks it.
        ProjectError: the project does not say what is needed.
        RegistryError: the layout cannot be written to, or the base not be fetched.
    """
    wanted = tuple(_platform(text) for text in platforms or project.image.platforms)
    model = find_model(project)
    bench = _Bench(project, cache or cache_folder(), locked, upgrade, observer, run_uv)
    with workshop(project.root, layout or layout_of(project), bench.cache, observer) as shop, Crew() as crew:
        lock, inputs = bench.locked_dependencies()
        code = gather_code(project, model, shop)
        weights = gather_model(model, shop)
        refuse_secrets(project, code, weights)
        importing = bench.importing(lock, inputs, interpreter)
        contract = crew.start(lambda: bench.contract(shop, lock, code, model, importing))
        modelled = crew.start(lambda: shop.layers("model", weights))
        runtime = gather_runtime(shop)
        lock, bases = bench.bases(lock, wanted, shop.layout, resolve_base)
        trees = [bench.tree(lock, inputs, platform) for platform in wanted]
        installed = [
            shop.dependencies(install.key(lock, p, project.image.python), tree, _inside(LIBRARY))
            for p, tree in zip(wanted, trees, strict=True)
        ]
        served, _ = shop.layers("runtime", runtime)
        model_layers, model_contents = modelled.result()
        facts = _facts(project, contract.result(), model_contents, told or {})
        images = [
            _image(
                project, shop, facts, below, (dependencies, *served, *model_layers), code, contract.result()
            )
            for below, dependencies in zip(bases, installed, strict=True)
        ]
        for image, tree in zip(images, trees, strict=True):
            attach_sbom(
                project,
                shop.layout,
                image,
                sboms.Contains(image.base, _packages(lock, tree), _files(model_contents)),
            )
        return name_images(shop.layout, images, facts, f"{project.service.name}:{tag}")


@dataclass(frozen=True, slots=True)
class _Image:
    """The image of one platform, not yet named."""

    base: Base
    layers: tuple[Layer, ...]
    config: manifests.Document
    manifest: manifests.Document


@dataclass(frozen=True, slots=True)
class _Bench:
    """What the stages of one build share."""

    project: Project
    cache: Path
    locked: bool
    upgrade: bool
    observer: Observer
    run_uv: Uv

    def locked_dependencies(self) -> tuple[locks.Lock, locks.Inputs]:
        """The lock, and what it is for."""
        if self.upgrade and not self.locked:
            wanted = locks.inputs(self.project)
            lock = locks.resolve(wanted, None, self.project.root, self.run_uv)
            locks.save(self.project.root / locks.FILE, lock)
        return locks.ensure(self.project, locked=self.locked, observer=self.observer, run=self.run_uv)

    def tree(self, lock: locks.Lock, inputs: locks.Inputs, platform: Platform) -> Path:
        """The installed dependencies of a platform."""
        return install.tree(
            lock,
            platform,
            self.project.image.python,
            cache=self.cache,
            folder=self.project.root,
            index=inputs.index,
            observer=self.observer,
            run=self.run_uv,
        )

    def importing(
        self, lock: locks.Lock, inputs: locks.Inputs, interpreter: contracts.Interpreter
    ) -> Callable[[], contracts.Importing]:
        """What importing the service needs, made when it is needed."""
        return lambda: contracts.Importing(self.tree(lock, inputs, _here()), self.cache, interpreter)

    def contract(
        self,
        shop: Workshop,
        lock: locks.Lock,
        code: Gathered,
        model: ModelPlace | None,
        importing: Callable[[], contracts.Importing],
    ) -> Contract | None:
        """The contract; what importing the service told is remembered as long as nothing of it changes."""
        source = model.source if model else None
        key = _contract_key(self.project, lock, code)
        remembered = shop.state / "cache/contract.json"
        if key is not None and (before := _remembered(remembered, key)):
            return before[0]
        contract = contracts.contract_of(self.project, source, importing, self.observer)
        if key is not None:
            text = contract.to_json() if contract else None
            with shop.forgiving():
                write_atomically(remembered, json.dumps({"key": key, "contract": text}).encode())
        return contract

    def bases(
        self, lock: locks.Lock, wanted: Sequence[Platform], layout: Layout, resolve: ResolveBase
    ) -> tuple[locks.Lock, list[Base]]:
        """The base of each platform, and the lock that says which they are."""
        reference, found = self.project.image.base, []
        for platform in wanted:
            one = resolve(
                reference,
                platform,
                layout,
                python=self.project.image.python,
                locked=lock.base(reference, str(platform)),
                strict=self.locked,
                refresh=self.upgrade,
                root=self.project.root,
                cache=self.cache,
                observer=self.observer,
            )
            lock = lock.with_base(reference, str(platform), one.digest)
            found.append(one)
        if not self.locked:
            locks.save(self.project.root / locks.FILE, lock)
        return lock, found


class Crew:
    """Threads that work beside the one who called. All are waited for before the block is left."""

    def __init__(self) -> None:
        self._at_work: list[Later[Any]] = []

    def __enter__(self) -> Self:
        return self

    def start(self, work: Callable[[], _T]) -> Later[_T]:
        """Begin something; its outcome is asked for later."""
        later = Later(work)
        self._at_work.append(later)
        return later

    def __exit__(self, *exc: object) -> None:
        for later in self._at_work:
            later.wait()


class Later(Generic[_T]):
    """The outcome of something that another thread does."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._outcome: list[_T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="serinus-crew", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that asks for the result
            self._error = error

    def wait(self) -> None:
        """Wait until it is over, however it ended."""
        self._thread.join()

    def result(self) -> _T:
        """What came of it, once it is over.

        Raises:
            BaseException: what was raised there.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._outcome[0]


def find_model(project: Project) -> ModelPlace | None:
    """Where the model of a project is, and where it goes; None when it names none.

    Raises:
        ProjectError: there is no such file or folder, or it would not go below the working directory.
    """
    named = project.model.source or project.model.path
    if named is None:
        return None
    source = project.root / named
    path = project.model.path or _own_path(named)
    clean = os.path.normpath(path)
    if clean.startswith(("/", "..")) or clean == ".":
        raise ProjectError(
            f"model.path is {path!r}, expected a path below the service's working directory",
            'Write it relative and without "..", like "model.onnx".',
        )
    if not source.exists():
        raise ProjectError(
            f"there is no model at {source}, which the project's file names",
            "Correct model.source or model.path, or put the file there: a path to a file or a folder.",
        )
    return ModelPlace(source, clean)


def _own_path(named: str) -> str:
    """The source is the path too where that is inside the project; its last name where it is not."""
    clean = os.path.normpath(named)
    return os.path.basename(clean) if clean.startswith(("/", "..")) else clean


def gather_code(project: Project, model: ModelPlace | None, shop: Workshop) -> Gathered:
    """The project's files but for the model, which has layers of its own.

    Raises:
        BuildError: a file cannot be read or cannot go into an image.
    """
    patterns = (*select.DEFAULTS, *select.read_patterns(project.root), *project.image.ignore)
    entries = select.walk(project.root, select.rules(patterns))
    if model is not None:
        own = [model.path]
        own += (
            [os.path.relpath(model.source, project.root)] if model.source.is_relative_to(project.root) else []
        )
        entries = tuple(
            entry
            for entry in entries
            if not any(entry.path == o or entry.path.startswith(f"{o}/") for o in own)
        )
    return shop.gather(entries, project.root, _inside(WORKDIR))


def gather_model(model: ModelPlace | None, shop: Workshop) -> Gathered:
    """The model's file, or the files of its folder; symbolic links as what they point at.

    Raises:
        BuildError: a file cannot be read, or the folder is empty.
    """
    if model is None:
        return Gathered(())
    if model.source.is_dir():
        entries = select.walk(model.source, select.rules(select.NEVER), follow=True)
        if not entries:
            raise BuildError(
                f"the model's folder {model.source} holds no files", "Put the model's files there."
            )
        return shop.gather(entries, model.source, f"{_inside(WORKDIR)}{model.path}/")
    state = model.source.stat()
    entry = select.Entry(model.source.name, False, state.st_size, None, state)
    gathered = shop.gather([entry], model.source.parent, _inside(WORKDIR))
    place = _inside(WORKDIR) + model.path
    return Gathered(
        tuple(replace(item, path=place) for item in gathered.items),
        {place: digest for digest in gathered.known.values()},
        {place: kept for kept in gathered.states.values()},
        gathered.findings,
    )


def gather_runtime(shop: Workshop) -> Gathered:
    """The serving part of Serinus."""
    items, known = [], {}
    for path, file in runtime_files():
        content = file.read_bytes()
        items.append(Item(path.lstrip("/"), len(content), content))
        known[path.lstrip("/")] = hashlib.sha256(content).hexdigest()
    return Gathered(tuple(items), known)


def refuse_secrets(project: Project, *gathered: Gathered) -> None:
    """Stop for what looks like a secret, but in the files that the project says hold none.

    Raises:
        SecretFound: naming each file and line.
    """
    allowed = select.rules(project.image.allow_secrets)
    findings = [found for one in gathered for found in one.findings]
    secrets.refuse(found for found in findings if not select.ignored(found.path, False, allowed))


def _image(
    project: Project,
    shop: Workshop,
    facts: manifests.Facts,
    stands_on: Base,
    below: tuple[Layer, ...],
    code: Gathered,
    contract: Contract | None,
) -> _Image:
    """The image of one platform: the code with its settings and contract on top of the other layers."""
    own = Gathered(()) if contract is None else _text(CONTRACT, contract.to_json())
    settings = _settings(project, contract, _build_digest((*stands_on.layers, *below), code + own))
    top, _ = shop.layers("code", code + own + _text(SETTINGS, settings.to_json()))
    layers = (*below, *top)
    config = manifests.configuration(stands_on, layers, facts)
    return _Image(stands_on, layers, config, manifests.manifest(stands_on, layers, config, facts))


def _settings(project: Project, contract: Contract | None, digest: str) -> Settings:
    service, model = project.service, find_model(project)
    return Settings(
        name=service.name,
        entrypoint=service.entrypoint,
        model=model.path if model else None,
        contract=CONTRACT if contract else None,
        route=service.route,
        port=service.port,
        workers=service.workers,
        max_body=service.max_body,
        deadline=service.deadline,
        queue=service.queue,
        grace=service.grace,
        build=digest,
    )


def _build_digest(below: Sequence[Layer], code: Gathered) -> str:
    """Digest over the image's layers, as far as it can stand inside one of them."""
    known = {item.path: code.known.get(item.path, "") for item in code.items}
    text = "\n".join((*(layer.diff_id for layer in below), layer_key(code.items, known, True)))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _text(path: str, text: str) -> Gathered:
    content, inside = text.encode(), path.lstrip("/")
    return Gathered((Item(inside, len(content), content),), {inside: hashlib.sha256(content).hexdigest()})


def _facts(
    project: Project, contract: Contract | None, model: Mapping[str, str], told: Mapping[str, str]
) -> manifests.Facts:
    promised = Contract(contract.request, contract.response).to_json() if contract else None
    return manifests.Facts(project.service.name, project.service.port, promised, model_digest(model), told)


def model_digest(contents: Mapping[str, str]) -> str | None:
    """The digest of a model's content: that of its file, or over the files of its folder; None without one.

    Args:
        contents: path inside the image -> hexadecimal SHA-256.
    """
    if len(contents) == 1:
        return "sha256:" + next(iter(contents.values()))
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(contents.items()))
    return "sha256:" + hashlib.sha256(os.fsencode(lines)).hexdigest() if contents else None


def attach_sbom(project: Project, layout: Layout, image: _Image, contains: sboms.Contains) -> None:
    """Write the configuration and the bill of materials, which refers to the manifest that comes after it."""
    subject = image.manifest.descriptor
    bill = sboms.sbom(project.service.name, __version__, subject.digest, contains)
    for document in (image.config, bill):
        _store(layout, document)
    _store(layout, manifests.NOTHING)
    attached = manifests.referrer(subject, bill.descriptor)
    layout.write_manifest(attached.descriptor, attached.body)


def name_images(layout: Layout, images: Sequence[_Image], facts: manifests.Facts, reference: str) -> Built:
    """Write the manifests, and the index where there are several; then move the tag."""
    if len(images) == 1:
        top = images[0].manifest
    else:
        for image in images:
            layout.write_manifest(image.manifest.descriptor, image.manifest.body)
        top = manifests.index([image.manifest.descriptor for image in images], facts)
    layout.write_manifest(top.descriptor, top.body, [reference])
    stored = {d.digest: d.size for image in images for d in _blobs(image)}
    first = images[0]
    return Built(top.descriptor, reference, (*first.base.layers, *first.layers), sum(stored.values()))


def _blobs(image: _Image) -> list[Descriptor]:
    return [image.config.descriptor, *(layer.descriptor for layer in (*image.base.layers, *image.layers))]


def _store(layout: Layout, document: manifests.Document) -> None:
    if not layout.has(document.descriptor):
        with layout.new_blob() as blob:
            blob.write(document.body)


def _packages(lock: locks.Lock, tree: Path) -> tuple[sboms.Package, ...]:
    hashes = {sboms.normalised(pin.name): pin.hashes for pin in lock.pins}
    return tuple(
        sboms.Package(name, version, hashes.get(name, ())) for name, version in install.packages(tree)
    )


def _files(contents: Mapping[str, str]) -> tuple[sboms.ModelFile, ...]:
    place = _inside(WORKDIR)
    shown = ((os.fsencode(path).decode(errors="replace"), digest) for path, digest in contents.items())
    return tuple(sboms.ModelFile(path.removeprefix(place), digest) for path, digest in shown)


def _contract_key(project: Project, lock: locks.Lock, code: Gathered) -> str | None:
    """What the outcome of importing the service depends on; None where it is not imported."""
    if not contracts.needs_import(project) or any(path not in code.known for path in _paths(code)):
        return None
    examples = contracts.examples_file(project)
    parts = (
        __version__,
        repr(project.service),
        repr(project.contract),
        project.image.python,
        locks.render_pins(lock.pins),
        layer_key(code.items, code.known, True),
        examples.read_bytes().hex() if examples and examples.is_file() else "",
        *(f"{path} {hashlib.sha256(file.read_bytes()).hexdigest()}" for path, file in runtime_files()),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _paths(code: Gathered) -> list[str]:
    return [item.path for item in code.items if item.link is None]


def _remembered(file: Path, key: str) -> tuple[Contract | None] | None:
    """The contract that was remembered under this key, which may be that there is none; None if nothing was."""
    try:
        document = json.loads(file.read_bytes())
        if document["key"] != key:
            return None
        text = document["contract"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (Contract.from_json(text) if isinstance(text, str) else None,)


def _platform(text: str) -> Platform:
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    if system != "linux" or not architecture:
        raise BuildError(f"the platform is {text!r}, expected one like linux/amd64", "Name one or several.")
    return Platform(system, architecture, variant)


def _here() -> Platform:
    machine = os.uname().machine
    return Platform("linux", {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine))


def _inside(path: str) -> str:
    """A folder of the image as the beginning of paths in a layer."""
    return path.lstrip("/") + "/"
