"""The flow of a build: a project becomes an image in a layout.

:func:`build` reads as the list of its stages. Whatever takes long runs beside the others: the service's
module is imported, the model packed and the base brought at the same time. A tag is moved last, when all
that the image needs is in the layout; a build that fails or is interrupted leaves the tag where it was, and
what it had written so far is dropped by a later build.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from serinus.contract import Contract
from serinus.errors import BuildError
from serinus.events import Observer, ignore
from serinus.files import cache_folder
from serinus.image import Base, Built, Layer, contracts, install
from serinus.image import lock as locks
from serinus.image.bytecode import compiler
from serinus.image.cache import layer_key
from serinus.image.crew import Crew, Once
from serinus.image.layers import Item
from serinus.image.recall import recall
from serinus.image.sources import (
    ModelPlace,
    dependencies,
    find_model,
    gather_code,
    gather_model,
    gather_runtime,
    refuse_secrets,
    with_model,
)
from serinus.image.stages import FOLDER, Gathered, Workshop, workshop
from serinus.image.uv import Uv, uv
from serinus.project import Project
from serinus.registry import Platform, this_platform
from serinus.registry.layout import Layout


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
    resolve_base: ResolveBase | None = None,
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
        resolve_base: brings the base image; default :func:`serinus.image.base.resolve`.
        run_uv: runs uv.
        interpreter: finds the Python that imports the service.
        told: standard annotations by short name (``version``, ``source``, ``revision``).

    Raises:
        BuildError, LockError, BaseError, SecretFound, ContractError, ProjectError, ModelError, RegistryError.
    """
    project = with_model(project, observer, cache=cache)
    wanted = tuple(_platform(text) for text in platforms or project.image.platforms)
    order = _Order(project, cache or cache_folder(), locked, upgrade, observer, run_uv, interpreter)
    with workshop(project.root, layout or layout_of(project), order.cache, observer) as shop, Crew() as crew:
        model = find_model(project)
        code, weights = gather_code(project, model, shop), gather_model(model, shop)
        refuse_secrets(project, code, weights)
        lock, inputs = order.lock()
        tree = Once(partial(order.tree, lock, inputs))
        promised = crew.start(partial(order.contract, shop, lock, tree, code, model))
        modelled = crew.start(lambda: shop.layers("model", weights))
        # Loaded here, while the service is imported: that takes longest of all when only code has changed.
        from serinus.image.compose import Parts, attach_sbom, compose, name_images

        installed = [crew.start(partial(tree, Target(each, project.image.python))) for each in wanted]
        bases = order.bases(lock, wanted, shop.layout, resolve_base)
        for folder in installed:
            folder.result()
        stocked = [order.stocked(shop, lock, tree, base) for base in bases]
        model_layers, contents = modelled.result()
        parts = Parts(project, promised.result(), code, model, contents, told or {})
        below = [(*each, *model_layers) for each in stocked]
        images = [compose(shop, parts, *each) for each in zip(bases, below, strict=True)]
        for image, each in zip(images, wanted, strict=True):
            attach_sbom(parts, shop.layout, image, lock, tree(Target(each, project.image.python)))
        return name_images(shop.layout, images, parts.facts, f"{project.service.name}:{tag}")


class Target(NamedTuple):
    """What dependencies are installed for."""

    platform: Platform
    python: str
    """Minor version of Python, ``3.11``."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be built, and how: what the stages of one build share."""

    project: Project
    cache: Path
    locked: bool
    upgrade: bool
    observer: Observer
    run_uv: Uv
    interpreter: contracts.Interpreter

    def lock(self) -> tuple[locks.Lock, locks.Inputs]:
        """The lock, and what it is for."""
        path = self.project.root / locks.FILE
        if self.upgrade and not self.locked:
            before = locks.load(path)
            # Without its pins, so that none is preferred; with its bases, so that a new one is told.
            bases = None if before is None else replace(before, pins=())
            locks.save(path, locks.resolve(locks.inputs(self.project), bases, self.project.root, self.run_uv))
        return locks.ensure(self.project, locked=self.locked, observer=self.observer, run=self.run_uv)

    def tree(self, lock: locks.Lock, inputs: locks.Inputs, target: Target) -> Path:
        """The installed dependencies for a platform and a Python."""
        return install.tree(
            lock,
            target.platform,
            target.python,
            cache=self.cache,
            folder=self.project.root,
            index=inputs.index,
            observer=self.observer,
            run=self.run_uv,
        )

    def stocked(
        self, shop: Workshop, lock: locks.Lock, tree: Once[Target, Path], base: Base
    ) -> tuple[Layer, ...]:
        """The layers between a base and what is the project's own, each with its bytecode."""
        target = Target(base.platform, self.project.image.python)
        served = gather_runtime()
        of_served = layer_key(served.items, served.known, compress=True)
        compiling = compiler(base, shop.layout, self.cache, self.observer)
        suffix = f" {compiling.key}" if compiling else ""

        def compiled(items: Sequence[Item]) -> Sequence[Item]:
            return (*items, *compiling.bytecode(items)) if compiling else items

        made = (
            shop.keyed("bytecode", f"bytecode{suffix}", compiling.library) if compiling else None,
            shop.keyed(
                "dependencies",
                f"dependencies {install.key(lock, *target)}{suffix}",
                lambda: compiled(dependencies(tree(target))),
            ),
            shop.keyed("runtime", f"runtime {of_served}{suffix}", lambda: compiled(served.items)),
        )
        return tuple(layer for layer in made if layer is not None)

    def contract(
        self,
        shop: Workshop,
        lock: locks.Lock,
        tree: Once[Target, Path],
        code: Gathered,
        model: ModelPlace | None,
    ) -> Contract | None:
        """The contract; what importing the service told is remembered as long as nothing of it changes."""

        def importing() -> contracts.Importing:
            here = this_platform()
            return contracts.Importing(
                lambda python: tree(Target(here, python)), self.cache, self.interpreter
            )

        def find() -> contracts.Found:
            return contracts.contract_of(
                self.project, model.source if model else None, importing, self.observer
            )

        return recall(shop, self.project, lock, code, find)

    def bases(
        self, lock: locks.Lock, wanted: Sequence[Platform], layout: Layout, resolve: ResolveBase | None
    ) -> list[Base]:
        """The base of each platform; the lock is told which they are."""
        if resolve is None:
            from serinus.image import base

            resolve = base.resolve
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
        return found


def _platform(text: str) -> Platform:
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    if system != "linux" or not architecture:
        raise BuildError(f"the platform is {text!r}, expected one like linux/amd64", "Name one or several.")
    return Platform(system, architecture, variant)
