"""Every error that Serinus raises on purpose, in one tree.

::

    SerinusError                what was found, what was expected, what to do next
    ├── ProjectError            the project file or the project's folder is not as it must be
    ├── ContractError           a contract cannot be inferred, read or compared
    ├── ServiceError            the service cannot be loaded or started
    ├── BuildError              the image cannot be built
    │   ├── LockError           the lock is missing, out of date or cannot be resolved
    │   ├── BaseError           the base image cannot be had or does not fit
    │   └── SecretFound         a secret would have gone into the image
    ├── RegistryError           a registry or a layout refused, or answered wrongly
    │   ├── NotFound            no such repository, tag, manifest or blob
    │   ├── Unauthorized        credentials are missing, wrong or too weak
    │   ├── DigestMismatch      what came is not what was asked for
    │   └── Unavailable         the registry could not be reached, or kept failing
    ├── ModelError              a model cannot be had, registered or read
    │   └── SourceUnavailable   where it comes from cannot be reached
    ├── RuntimeUnavailable      a container runtime is missing or refused
    ├── CheckError              a report cannot be read, or does not show what is required
    ├── RolloutError            a rollout cannot be started, or moved as it was asked
    ├── RouterError             the router refused a routing, or does not answer
    ├── JournalError            the journal cannot be read or written
    ├── ControlError            the control API cannot be reached, or refused
    └── PipelineError           a pipeline is declared wrongly, or a run cannot be started or gone on with
        └── PipelineBusy        another process runs it

One class for each thing that a caller would handle differently. The message is written where the error
is raised, and names the object, what was found and what was expected; ``todo`` says what to do next.
"""

from __future__ import annotations


class SerinusError(Exception):
    """The root of the tree.

    Args:
        message: names the object, what was found and what was expected.
        todo: what to do next, in the imperative; shown on a line of its own.
    """

    def __init__(self, message: str, todo: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.message}\n{self.todo}" if self.todo else self.message


class ProjectError(SerinusError):
    """The project file or the project's folder is not as it must be."""


class ContractError(SerinusError):
    """A contract cannot be inferred, read or compared."""


class ServiceError(SerinusError):
    """The service cannot be loaded or started."""


class BuildError(SerinusError):
    """The image cannot be built."""


class LockError(BuildError):
    """The lock is missing, out of date or cannot be resolved."""


class BaseError(BuildError):
    """The base image cannot be had or does not fit."""


class SecretFound(BuildError):
    """A secret would have gone into the image."""


class RegistryError(SerinusError):
    """A registry or a layout refused, or answered wrongly."""


class NotFound(RegistryError):
    """There is no such repository, tag, manifest or blob."""


class Unauthorized(RegistryError):
    """Credentials are missing, wrong or too weak."""


class DigestMismatch(RegistryError):
    """What came is not what was asked for: the digest of its bytes differs."""


class Unavailable(RegistryError):
    """The registry could not be reached, or kept failing."""


class ModelError(SerinusError):
    """A model cannot be had from where it comes from, cannot be registered, or cannot be read."""


class SourceUnavailable(ModelError):
    """Where a model comes from cannot be reached, or kept failing: what was fetched may still serve."""


class RuntimeUnavailable(SerinusError):
    """A container runtime is missing or refused to run an image."""


class CheckError(SerinusError):
    """A report cannot be read, does not belong to its image, or does not show what is required."""


class RolloutError(SerinusError):
    """A rollout cannot be started, or cannot be moved as it was asked."""


class RouterError(SerinusError):
    """The router refused a routing, or does not answer."""


class JournalError(SerinusError):
    """The journal cannot be read or written, or is of another version of Serinus."""


class ControlError(SerinusError):
    """The control API cannot be reached, or refused what it was asked."""


class PipelineError(SerinusError):
    """A pipeline is declared wrongly, or a run cannot be started, found or gone on with."""


class PipelineBusy(PipelineError):
    """Another process runs this pipeline of this project."""
