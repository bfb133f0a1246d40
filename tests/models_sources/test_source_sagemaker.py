"""Models from SageMaker's model packages, as moto plays them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest
from fetching import FILES, LARGE, Machine, contents

from serinus.errors import ModelError
from serinus.events import Progress


def archive(files: Mapping[str, bytes], link: str = "") -> bytes:
    """A ``model.tar.gz``."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return made.getvalue()


@pytest.fixture
def packages(aws: Any) -> Any:
    """A bucket with a model, and an empty group of packages; gives what makes a package."""
    s3, client = aws.client("s3"), aws.client("sagemaker")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="mood/model.tar.gz", Body=archive(FILES))
    for path, data in FILES.items():
        s3.put_object(Bucket="models", Key=f"raw/{path}", Body=data)
    client.create_model_package_group(ModelPackageGroupName="mood")

    def made(*containers: Mapping[str, Any], status: str = "Approved") -> str:
        created = client.create_model_package(
            ModelPackageGroupName="mood",
            ModelApprovalStatus=status,
            InferenceSpecification={
                "Containers": [{"Image": "1.dkr.ecr.example/serve:1", **one} for one in containers],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )
        return str(created["ModelPackageArn"])

    return made


PACKED = {"ModelDataUrl": "s3://models/mood/model.tar.gz"}


def test_the_archive_of_a_package_is_unpacked(machine: Machine, packages: Any) -> None:
    arn = packages(PACKED)
    found = machine.fetch("sagemaker://mood/1")
    assert contents(found) == FILES
    assert (found.name, found.uri) == ("mood", f"sagemaker://{arn}")
    size = len(archive(FILES))
    assert any(isinstance(e, Progress) and e.total and abs(e.total - size) < 100 for e in machine.events)
    assert contents(machine.fetch(f"sagemaker://{arn}")) == FILES
    assert not machine.left()


def test_a_package_of_plain_files(machine: Machine, packages: Any) -> None:
    source = {"S3Uri": "s3://models/raw/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    packages({"ModelDataSource": {"S3DataSource": source}})
    assert contents(machine.fetch("sagemaker://mood/1")) == FILES


def test_a_package_of_one_object(machine: Machine, packages: Any) -> None:
    source = {"S3Uri": "s3://models/raw/model.onnx", "S3DataType": "S3Object", "CompressionType": "None"}
    packages({"ModelDataSource": {"S3DataSource": source}})
    assert contents(machine.fetch("sagemaker://mood/1")) == {"model.onnx": LARGE}


def test_a_new_version_and_a_new_archive_are_seen(machine: Machine, packages: Any, aws: Any) -> None:
    packages(PACKED)
    old = machine.fetch("sagemaker://mood/1")
    aws.client("s3").put_object(Bucket="models", Key="mood/model.tar.gz", Body=archive({"a": b"new"}))
    packages(PACKED)
    assert contents(machine.fetch("sagemaker://mood/2")) == {"a": b"new"}
    assert contents(machine.fetch("sagemaker://mood/1")) == {"a": b"new"}
    assert contents(old) == FILES


@pytest.mark.parametrize(("source", "said"), [
    ("sagemaker://mood/9", "has no version 9; the last are 1, 2, 3, 4, 5"),
    ("sagemaker://mood/2", "was rejected"),
    ("sagemaker://mood/3", "has 2 containers"),
    ("sagemaker://mood/4", "expected s3://BUCKET/KEY"),
    ("sagemaker://mood/5", "there is no model"),
])  # fmt: skip
def test_what_is_no_model_is_named(machine: Machine, packages: Any, source: str, said: str) -> None:
    packages(PACKED)
    packages(PACKED, status="Rejected")
    packages(PACKED, PACKED)
    packages({"ModelDataUrl": "https://elsewhere.example/model.tar.gz"})
    packages({"ModelDataUrl": "s3://models/none/model.tar.gz"})
    with pytest.raises(ModelError, match=said):
        machine.fetch(source)


@pytest.mark.parametrize("body", [
    archive({"../evil": b"x"}), archive({"/evil": b"x"}), archive({"a": b""}, link="evil"), b"no archive",
], ids=["above", "absolute", "link", "junk"])  # fmt: skip
def test_an_archive_that_leads_out_of_the_folder_is_refused(
    machine: Machine, packages: Any, aws: Any, body: bytes
) -> None:
    aws.client("s3").put_object(Bucket="models", Key="mood/model.tar.gz", Body=body)
    packages(PACKED)
    with pytest.raises(ModelError):
        machine.fetch("sagemaker://mood/1")
    assert not list(machine.root.rglob("evil*"))
    assert not machine.left()


@pytest.mark.parametrize("missing", ["AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"])
def test_a_missing_login_is_named(
    machine: Machine, packages: Any, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    packages(PACKED)
    monkeypatch.delenv(missing)
    with pytest.raises(ModelError, match=rf"(?s)may not be read.*{missing}"):
        machine.fetch("sagemaker://mood/1")
