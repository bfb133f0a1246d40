"""The forms that the address of a model can have, as frozen values. Pure.

The text of each, ``str(form)``, is read by ``address.parse`` as the same value again. Two properties decide
what the cache may do: ``exact`` says that the text alone fixes the content, so that nobody need be asked;
``fixed`` that it names a version that never changes, so that what was fetched before serves while its place
cannot be reached. ``place`` is what the versions of a model share: the cache keeps them beside each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from serinus.models.ids import NEWEST, Id
from serinus.registry.reference import Reference


@dataclass(frozen=True, slots=True)
class Local:
    """A file or a folder of this machine, relative to the project where the path is."""

    path: str
    exact = fixed = False

    @property
    def name(self) -> str:
        """The path's last part."""
        return PurePosixPath(self.path).name

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return self.path

    def __str__(self) -> str:
        return f"file:{quote(self.path)}"


@dataclass(frozen=True, slots=True)
class Registered:
    """A model in the project's model registry."""

    id: Id

    @property
    def name(self) -> str:
        """The model's."""
        return self.id.name

    @property
    def exact(self) -> bool:
        """Whether it is named by digest."""
        return bool(self.id.digest)

    @property
    def fixed(self) -> bool:
        """Whether it is named by digest or version, and not by an alias."""
        return bool(self.id.digest or self.id.version)

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return self.id.name

    def __str__(self) -> str:
        return str(self.id) if self.fixed or self.id.alias else f"{self.id.name}@{NEWEST}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model as an OCI artifact: in a registry, or in the layout of a folder."""

    reference: Reference | None
    layout: str = ""
    """``PATH[:TAG]`` of a layout, where there is no reference."""

    @property
    def name(self) -> str:
        """The repository's last part, or the tag in the layout."""
        if self.reference is not None:
            return PurePosixPath(self.reference.repository).name
        path, _, tag = self.layout.partition(":")
        return tag.partition(":")[0] or PurePosixPath(path).name or "model"

    @property
    def exact(self) -> bool:
        """Whether it is named by digest."""
        return self.reference is not None and bool(self.reference.digest)

    fixed = exact

    @property
    def place(self) -> str:
        """What all versions of it share."""
        if self.reference is not None:
            return f"oci://{self.reference.registry}/{self.reference.repository}"
        return f"oci:{self.layout}"

    def __str__(self) -> str:
        return f"oci://{self.reference}" if self.reference else f"oci:{self.layout}"


@dataclass(frozen=True, slots=True)
class Web:
    """One file behind a URL, whose content is known beforehand."""

    url: str
    sha256: str = ""
    """Hexadecimal; empty where ``model.digest`` says it."""

    @property
    def name(self) -> str:
        """The path's last part."""
        last = unquote(PurePosixPath(urlsplit(self.url).path).name)
        return last if _is_file_name(last) else "model"

    @property
    def exact(self) -> bool:
        """Always: there is no other way to ask for it."""
        return True

    fixed = exact

    @property
    def shown(self) -> str:
        """The URL without its query, which may hold a signature or a token."""
        return urlunsplit(urlsplit(self.url)._replace(query=""))

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return self.url

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.sha256}" if self.sha256 else self.url


@dataclass(frozen=True, slots=True)
class Bucket:
    """An object of an object store, or all objects below a prefix."""

    scheme: str
    """``s3``, ``gs`` or ``abfs``."""
    bucket: str
    """For ``abfs`` the container, and its account where it is named: ``models@acme.dfs.core.windows.net``."""
    key: str
    version: str = ""
    """S3's version id, or Google's generation."""

    exact = False

    @property
    def name(self) -> str:
        """The key's last part."""
        last = PurePosixPath(self.key).name
        return last if _is_file_name(last) else "model"

    @property
    def fixed(self) -> bool:
        """Whether one version of the object is named."""
        return bool(self.version)

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __str__(self) -> str:
        mark = {"s3": "?versionId=", "gs": "#"}.get(self.scheme, "") if self.version else ""
        return f"{self.scheme}://{self.bucket}/{self.key}{mark}{self.version}"


@dataclass(frozen=True, slots=True)
class Mlflow:
    """A model in MLflow's model registry, by version or alias."""

    name: str
    version: str = ""
    alias: str = ""
    exact = False

    @property
    def fixed(self) -> bool:
        """Whether it is named by version."""
        return bool(self.version)

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return f"mlflow:models:/{self.name}"

    def __str__(self) -> str:
        return f"mlflow:models:/{self.name}" + (f"/{self.version}" if self.version else f"@{self.alias}")


@dataclass(frozen=True, slots=True)
class Package:
    """A version of a SageMaker model package group."""

    group: str
    version: str
    arn: str = ""
    """``arn:aws:sagemaker:REGION:ACCOUNT:model-package``; empty for the region and account of the login."""
    exact = False
    fixed = True

    @property
    def name(self) -> str:
        """The group's."""
        return self.group

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return f"sagemaker://{self.arn}/{self.group}"

    def __str__(self) -> str:
        return f"sagemaker://{self.arn + '/' if self.arn else ''}{self.group}/{self.version}"


@dataclass(frozen=True, slots=True)
class AzureMl:
    """A version of a model in an Azure Machine Learning workspace."""

    group: str
    workspace: str
    name: str
    version: str
    subscription: str = ""
    """Empty: ``AZURE_SUBSCRIPTION_ID`` says it."""
    exact = False
    fixed = True

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return str(self).rpartition("/versions/")[0]

    def __str__(self) -> str:
        head = f"subscriptions/{self.subscription}/" if self.subscription else ""
        where = f"resourcegroups/{self.group}/workspaces/{self.workspace}"
        return f"azureml://{head}{where}/models/{self.name}/versions/{self.version}"


@dataclass(frozen=True, slots=True)
class Hub:
    """A model of the Hugging Face Hub at a revision, or one file of it."""

    repository: str
    revision: str = "main"
    file: str = ""

    @property
    def name(self) -> str:
        """The repository's last part, or the file's."""
        return PurePosixPath(self.file or self.repository).name

    @property
    def exact(self) -> bool:
        """Whether the revision is a whole commit hash."""
        return bool(re.fullmatch(r"[0-9a-f]{40}", self.revision))

    fixed = exact

    @property
    def place(self) -> str:
        """What all versions of it share."""
        return f"hf://{self.repository}/{self.file}"

    def __str__(self) -> str:
        file = f"/{quote(self.file)}" if self.file else ""
        return f"hf://{self.repository}@{quote(self.revision, safe='')}{file}"


Address = Local | Registered | Artifact | Web | Bucket | Mlflow | Package | AzureMl | Hub


def _is_file_name(text: str) -> bool:
    return text not in {"", ".", ".."} and "/" not in text and "\0" not in text
