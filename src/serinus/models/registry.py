"""The model registry: register, list, show, pull, alias, diff; upon an OCI layout folder or any OCI registry.

A version is immutable, and its number is never given again; what moves is an alias, which is a tag
and nothing else. Models are stored in the format of the CNCF ModelPack specification, so that ``oras`` and
KitOps pull what is registered here, and what they push can be pulled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serinus.errors import ModelError, RegistryError
from serinus.events import Observer, ignore, step
from serinus.files import write_atomically
from serinus.models import folder as folders
from serinus.models import ids, lineage, local, lookup, pulled
from serinus.models.compare import Difference, compare
from serinus.models.digest import model_digest
from serinus.models.facts import Facts, Value
from serinus.models.ids import Id
from serinus.models.interfaces import interfaces
from serinus.models.manifest import Artifact, Stored, artifact
from serinus.models.shelf import Shelf
from serinus.models.version import ModelVersion, version_at
from serinus.project import Project
from serinus.registry.layout import Layout
from serinus.registry.places import OCI, Connect, connect
from serinus.registry.reference import parse as parse_reference

_JOBS = 4


class _Cancelled(Exception):
    pass


class ModelRegistry:
    """The model registry at one place.

    Args:
        where: ``oci:FOLDER`` or the beginning of repositories, ``ghcr.io/acme/models``.
        root: the project's folder: a relative folder counts from it, and its git repository is asked.
        observer: told the progress of each file.
        connect: opens a repository of a registry.
        now: the time.
        environ: where a pipeline's run says which it is.
        shelf: options of ``remote.RemoteShelf``.
    """

    def __init__(
        self,
        where: str = "oci:.serinus/models",
        root: Path | str = ".",
        *,
        observer: Observer = ignore,
        connect: Connect = connect,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        environ: Mapping[str, str] = os.environ,
        shelf: Mapping[str, Any] | None = None,
    ) -> None:
        self.root = Path(root)
        self.where = where
        self._layout = _layout(where, self.root)
        self._observer = observer
        self._connect = connect
        self._now = now
        self._environ = environ
        self._options = dict(shelf or {})
        if self._layout is None:
            parse_reference(f"{where}/x")  # a wrong beginning is told now

    @classmethod
    def of(cls, project: Project, **options: Any) -> ModelRegistry:
        """The model registry that a project's file names; ``options`` are those of the class."""
        return cls(project.models.registry, project.root, **options)

    def __repr__(self) -> str:
        return f"ModelRegistry({self.where!r})"

    def register(
        self,
        name: str,
        paths: Sequence[Path | str],
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Value] | None = None,
        note: str = "",
        aliases: Sequence[str] = (),
        data: Sequence[Path | str] = (),
    ) -> ModelVersion:
        """Store files as the next version of a model.

        Equal files are stored once. Whenever it is killed, there is a whole version or none. What a run of a
        pipeline has registered before it was killed is not registered again when it goes on.

        Args:
            name: of the model.
            paths: files and folders; one folder alone is the model, of several each keeps its name.
            metrics: what was measured of it.
            params: what it was made with; those of the pipeline's run around us are added.
            note: for people.
            aliases: that point at it from now on.
            data: files and folders that it was trained on: hashed, and not stored.

        Raises:
            ModelError: a wrong name or path, or a file was changed meanwhile; nothing was registered.
            RegistryError: as the place says; nothing was registered.
        """
        ids.check_name(name)
        for alias in aliases:
            _settable(ids.check_alias(alias))
        files = local.find(paths)
        facts = Facts(
            note=note,
            metrics=dict(metrics or {}),
            params=lineage.params_around(self._environ) | dict(params or {}),
            interface=interfaces(files, self._observer),
            lineage=lineage.around(self.root, data, self._environ),
        )
        with self._shelf(name) as shelf:
            self._keep_out_of_git()
            stored = self._store(shelf, files)
            contents = {s.path: s.digest.partition(":")[2] for s in stored}
            facts = replace(facts, content=model_digest(contents) or "")
            if (before := lookup.of_run(shelf, name, facts)) is not None:
                for alias in aliases:
                    shelf.point(alias, shelf.resolve(before.digest))
                return replace(before, aliases=tuple(sorted(set(aliases))))

            def make(number: int, claim: str) -> Artifact:
                created = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
                return artifact(name, number, stored, replace(facts, created=created, claim=claim))

            with step(f"version of {name}", self._observer) as told:
                number, descriptor = shelf.publish(make, tuple(dict.fromkeys(aliases)))
                told.detail = f"{name}:{number}"
            found = version_at(shelf.source, name, number, descriptor)
            return replace(found, aliases=tuple(sorted(set(aliases))))

    def names(self) -> tuple[str, ...]:
        """The names of all models, sorted.

        Raises:
            ModelError: the registry does not list its repositories.
        """
        if self._layout is not None:
            return folders.names(self._layout)
        base = parse_reference(f"{self.where}/x")
        beginning = base.repository.removesuffix("x")
        try:
            with self._connect(base) as repository:
                found = repository.catalog()
        except RegistryError as error:
            raise ModelError(
                f"{base.registry} does not list its repositories: {error.message}",
                "Name a model: `serinus model list NAME`.",
            ) from error
        inside = (r.removeprefix(beginning) for r in found if r.startswith(beginning))
        return tuple(sorted(name for name in inside if "/" not in name))

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """The versions of a model with their aliases, the oldest first.

        Raises:
            ModelError: there is no model of that name.
            RegistryError: as the place says.
        """
        with self._shelf(ids.check_name(name)) as shelf:
            return lookup.all_of(shelf, name, self.names)

    def numbers(self, name: str, alias: str = "") -> tuple[int, ...]:
        """The versions of a model by their numbers alone, the oldest first: one question, however many.

        Args:
            name: of the model; one that is not there has none.
            alias: the version at which it points alone.

        Raises:
            RegistryError: as the place says.
        """
        with self._shelf(ids.check_name(name)) as shelf:
            tags = shelf.tags()
            if not alias:
                return tuple(sorted(filter(None, map(ids.version_of, tags))))
            return (lookup.find(shelf, Id(name, alias=alias), self.names).version,) if alias in tags else ()

    def resolve(self, id_: str) -> ModelVersion:
        """The version that an id names now; its aliases are not looked up.

        Args:
            id_: ``NAME`` (the newest), ``NAME:VERSION``, ``NAME@ALIAS`` or ``NAME@sha256:...``.

        Raises:
            ModelError: not an id, or there is none; the message names the nearest.
            RegistryError: as the place says.
        """
        wanted = ids.parse(id_)
        with self._shelf(wanted.name) as shelf:
            return lookup.find(shelf, wanted, self.names)

    def show(self, id_: str) -> ModelVersion:
        """The version that an id names now, with its aliases.

        Raises:
            ModelError, RegistryError: as :meth:`resolve`.
        """
        wanted = ids.parse(id_)
        with self._shelf(wanted.name) as shelf:
            found = lookup.find(shelf, wanted, self.names)
            return replace(found, aliases=lookup.aliases_of(shelf).get(found.digest, ()))

    def pull(self, id_: str, folder: Path | str) -> ModelVersion:
        """Bring the files of a version into a folder, which appears whole or not at all.

        Args:
            id_: as for :meth:`resolve`.
            folder: is made; where it holds these very files already, nothing is done.

        Raises:
            ModelError: as :meth:`resolve`; or the folder holds something else.
            RegistryError: as the place says; nothing was written.
        """
        wanted = ids.parse(id_)
        with self._shelf(wanted.name) as shelf:
            found = lookup.find(shelf, wanted, self.names)
            with step(f"pull {found.id}", self._observer) as told:
                descriptor = shelf.resolve(found.digest)
                brought = pulled.pull(shelf.source, descriptor, found.contents, Path(folder), told.progress)
                told.detail = str(folder) if brought else "present"
            return found

    def alias(self, id_: str, alias: str) -> ModelVersion:
        """Let an alias point at a version: ``production``, ``staging``. It may point elsewhere by now.

        Raises:
            ModelError: as :meth:`resolve`; or the alias cannot be given.
            RegistryError: as the place says.
        """
        wanted = ids.parse(id_)
        _settable(ids.check_alias(alias))
        with self._shelf(wanted.name) as shelf:
            found = lookup.find(shelf, wanted, self.names)
            shelf.point(alias, shelf.resolve(found.digest))
            return replace(found, aliases=(alias,))

    def diff(self, old: str, new: str) -> Difference:
        """What differs between two versions, which may be of two models.

        Raises:
            ModelError, RegistryError: as :meth:`resolve`.
        """
        one, other = self.resolve(old), self.resolve(new)
        files = tuple({f.path: f.digest for f in v.files} for v in (one, other))
        return compare((files[0], files[1]), one.facts, other.facts)

    # What stands behind these

    @contextmanager
    def _shelf(self, name: str) -> Iterator[Shelf]:
        if self._layout is not None:
            yield folders.LayoutShelf(self._layout, name)
            return
        from serinus.models.remote import RemoteShelf

        with self._connect(parse_reference(f"{self.where}/{name}")) as repository:
            yield RemoteShelf(repository, **self._options)

    def _store(self, shelf: Shelf, files: Sequence[local.Local]) -> tuple[Stored, ...]:
        stop = threading.Event()

        def one(file: local.Local) -> Stored:
            with step(f"store {file.path}", self._observer) as told:

                def progress(done: int, total: int | None) -> None:
                    if stop.is_set():
                        raise _Cancelled
                    told.progress(done, total)

                stored, told.detail = shelf.store(file, progress)
                return stored

        with ThreadPoolExecutor(_JOBS, thread_name_prefix="serinus-model") as pool:
            # The largest first: they take longest, and the small ones fill the gaps.
            futures = [pool.submit(one, file) for file in sorted(files, key=lambda f: -f.size)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        errors = [f.exception() for f in futures if not f.cancelled()]
        for error in errors:
            if error is not None and not isinstance(error, _Cancelled):
                raise error
        return tuple(future.result() for future in futures)

    def _keep_out_of_git(self) -> None:
        """The project's own folder of Serinus is nothing for a repository."""
        own = self.root / ".serinus"
        if self._layout is None or own.resolve() not in self._layout.root.resolve().parents:
            return
        if not (own / ".gitignore").exists():
            write_atomically(own / ".gitignore", b"*\n")


def _layout(where: str, root: Path) -> Layout | None:
    if not where.startswith(OCI):
        return None
    path = where.removeprefix(OCI)
    if not path:
        raise ModelError(
            f"the model registry {where!r} names no folder", 'Write registry = "oci:FOLDER" under [models].'
        )
    return Layout(root / path)


def _settable(alias: str) -> None:
    if alias == ids.NEWEST:
        raise ModelError(
            f"the alias {alias} cannot be given: NAME and NAME@{alias} are always the newest version",
            "Choose another one, like production.",
        )
