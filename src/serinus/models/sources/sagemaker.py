"""``sagemaker://GROUP/VERSION``: a model package of SageMaker, its files from S3, both by boto3.

After the SageMaker API reference (``ListModelPackages``, ``DescribeModelPackage``: ``ModelDataUrl`` and
``ModelDataSource``). A ``.tar.gz`` is unpacked, as SageMaker itself does it where the model is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from serinus.errors import ModelError
from serinus.files import temporary
from serinus.models import Found, Progress
from serinus.models.archives import decompressed, extract
from serinus.models.formats import safe_path
from serinus.models.forms import Package
from serinus.models.sources.failures import explained, need

_LOGIN = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE after `aws sso login`, and "
    "AWS_DEFAULT_REGION; the role needs sagemaker:ListModelPackages, "
    "sagemaker:DescribeModelPackage and s3:GetObject."
)


@dataclass(frozen=True, slots=True)
class _Data:
    """Where the files of a package are: one object, or all below a prefix."""

    bucket: str
    key: str
    prefix: bool = False

    @property
    def packed(self) -> bool:
        return not self.prefix and self.key.endswith((".tar.gz", ".tgz"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class ModelPackage:
    """A version of a model package group."""

    def __init__(self, address: Package) -> None:
        self._address = address
        self._what = f"the model {address}"
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def find(self) -> Found:
        """The package, and its files as they are in S3 now."""
        with explained(self._what, _LOGIN):
            arn, data = self._package()
            objects = tuple(self._objects(data))
        size = sum(one["Size"] for one in objects)
        marks = " ".join(f"{one['Key']} {one['ETag']}" for one in objects)
        prefix, _, _ = arn.rpartition(f"/{self._address.group}/")
        uri = str(Package(self._address.group, self._address.version, prefix))
        return Found(uri, f"{arn} {data} {marks}", size=size)

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the files; an archive is unpacked."""
        with explained(self._what, _LOGIN):
            data = self._package()[1]
            client = self._boto("s3")
            done = 0

            def through(count: int) -> None:
                nonlocal done
                done += count
                progress(done, found.size)

            for one in self._objects(data):
                if data.packed:
                    self._unpack(client, data, folder, through)
                    continue
                name = one["Key"].removeprefix(data.key) if data.prefix else PurePosixPath(data.key).name
                target = folder / safe_path(name, self._what)
                target.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(data.bucket, one["Key"], str(target), Callback=through)
        if self.find().identity != found.identity:
            raise ModelError(f"{self._what} was replaced while it was fetched", "Run the command again.")

    def _unpack(self, client: Any, data: _Data, folder: Path, through: Any) -> None:
        archive = temporary(folder)
        client.download_file(data.bucket, data.key, str(archive), Callback=through)
        try:
            with archive.open("rb") as file:
                extract(decompressed(file, "gzip", self._what), folder, "", self._what)
        finally:
            archive.unlink()

    def _package(self) -> tuple[str, _Data]:
        """The package's ARN, and where its files are."""
        client = self._boto("sagemaker")
        arn = (
            f"{self._address.arn}/{self._address.group}/{self._address.version}" if self._address.arn else ""
        )
        arn = arn or self._arn(client)
        described = client.describe_model_package(ModelPackageName=arn)
        if described.get("ModelApprovalStatus") == "Rejected":
            raise ModelError(
                f"{self._what} was rejected: its ModelApprovalStatus says so",
                "Name another version, or approve this one in SageMaker.",
            )
        containers = described.get("InferenceSpecification", {}).get("Containers", [])
        if len(containers) != 1:
            raise ModelError(
                f"{self._what} has {len(containers)} containers in its InferenceSpecification, expected one",
                "Register a package for the one model that this service answers with.",
            )
        return arn, _data(containers[0], self._what)

    def _arn(self, client: Any) -> str:
        pages = client.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=self._address.group
        )
        versions = {
            str(one.get("ModelPackageVersion")): str(one["ModelPackageArn"])
            for page in pages
            for one in page["ModelPackageSummaryList"]
        }
        if self._address.version not in versions:
            there = ", ".join(sorted(versions, key=lambda v: (len(v), v))[-5:])
            raise ModelError(
                f"the model package group {self._address.group} has no version {self._address.version}; "
                + (f"the last are {there}" if there else "it has none"),
                "Name one of them, or check AWS_DEFAULT_REGION and the account.",
            )
        return versions[self._address.version]

    def _objects(self, data: _Data) -> Iterator[Mapping[str, Any]]:
        client = self._boto("s3")
        if not data.prefix:
            head = client.head_object(Bucket=data.bucket, Key=data.key)
            yield {"Key": data.key, "ETag": head["ETag"], "Size": head["ContentLength"]}
            return
        found: Sequence[Mapping[str, Any]] = [
            one
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=data.bucket, Prefix=data.key)
            for one in page.get("Contents", ())
            if not one["Key"].endswith("/")
        ]
        if not found:
            raise ModelError(
                f"{self._what} has no files: nothing is stored below {data}", "Register it again."
            )
        yield from found

    def _boto(self, service: str) -> Any:
        # A session of its own: the default one keeps the login of whoever used it first in this process. Each
        # client once: reading the description of SageMaker's API takes longer than asking it.
        if self._session is None:
            self._session = need("boto3", "sagemaker", self._what).Session()
        if service not in self._clients:
            self._clients[service] = self._session.client(service)
        return self._clients[service]


def _data(container: Mapping[str, Any], what: str) -> _Data:
    """Where a container's files are. Pure."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    url = source.get("S3Uri") or container.get("ModelDataUrl") or ""
    bucket, slash, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not slash or not key:
        raise ModelError(
            f"{what} says that its files are at {url!r}, expected s3://BUCKET/KEY",
            "Register it with its files.",
        )
    prefix = source.get("S3DataType") == "S3Prefix"
    return _Data(bucket, f"{key.rstrip('/')}/" if prefix else key, prefix)
