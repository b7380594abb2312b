"""S3 as boto3 speaks it: multipart uploads, bodies that are signed and summed chunk by chunk, presigned URLs."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.conftest import Behind
from clients.tools import NOT_ALLOWED, Gated, Ran
from support.needed import needed
from support.targets import MotoAws

PART_BYTES = 5 * 2**20  # the least that S3 takes for a part that is not the last
OBJECT_BYTES = 3 * PART_BYTES + 4711

BOTO = """
import json, os, sys
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

config = Config(s3={"addressing_style": "virtual"}, retries={"total_max_attempts": 1})
s3 = boto3.client("s3", config=config)
parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
try:
    %s
except Exception as error:
    print(error)
    sys.exit(1)
"""


@pytest.fixture
def gated(behind: Behind, moto_aws: MotoAws) -> Gated:
    return behind(moto_aws)


def boto(gated: Gated, code: str, *arguments: str, agent: str = "operations-bot") -> Ran:
    """Run some lines with a client for S3; what it raises is printed."""
    return gated.run(sys.executable, "-c", BOTO % code, *arguments, agent=agent, **MotoAws.credentials())


@pytest.fixture
def bucket(gated: Gated) -> str:
    """A bucket of the agent that may."""
    ran = boto(gated, 's3.create_bucket(Bucket="orders")')
    assert ran.code == 0, ran.said
    return "orders"


def called(gated: Gated) -> dict[str, list[dict[str, Any]]]:
    """The decisions so far by operation, the creation of the bucket left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in gated.decisions():
        found.setdefault(record["operation"].removeprefix("aws:s3:"), []).append(record)
    found.pop("CreateBucket")
    return found


UPLOAD = 's3.upload_file(sys.argv[1], "orders", "a/large", Config=parts)'
DOWNLOAD = 's3.download_file("orders", "a/large", sys.argv[1], Config=parts)'


def test_a_large_object_is_sent_in_parts(gated: Gated, bucket: str, moto_aws: MotoAws, tmp_path: Path) -> None:
    """Each part is an operation of its own on that object, and the object comes back whole."""
    large = tmp_path / "large"
    large.write_bytes(os.urandom(OBJECT_BYTES))
    sent = boto(gated, UPLOAD, str(large))
    assert sent.code == 0, sent.said
    parts = [seen for seen in moto_aws.seen if "partNumber=" in seen.path]
    fetched = boto(gated, DOWNLOAD, str(tmp_path / "back"))
    assert fetched.code == 0, fetched.said
    assert (tmp_path / "back").read_bytes() == large.read_bytes()

    calls = called(gated)
    assert {name: len(records) for name, records in calls.items() if name != "GetObject"} == {
        "CreateMultipartUpload": 1,
        "UploadPart": 4,
        "CompleteMultipartUpload": 1,
        "HeadObject": 1,
    }
    assert {record["action"] for name in calls for record in calls[name]} == {"data:write", "data:read"}
    assert {record["target"] for name in calls for record in calls[name]} == {f"aws/-/us-east-1/s3/{bucket}/a/large"}
    # Each part ends in a checksum that its head announces, inside the body (docs.aws.amazon.com, "aws-chunked").
    assert {seen.header("content-encoding") for seen in parts} == {"aws-chunked"}
    assert {seen.header("x-amz-trailer") for seen in parts} == {"x-amz-checksum-crc32"}
    sizes = sorted(seen.body_bytes for seen in parts)
    assert sorted(gated.outcome_of(record)["request_bytes"] for record in calls["UploadPart"]) == sizes
    assert sum(sizes) > OBJECT_BYTES


def test_who_may_not_write_sends_no_part(gated: Gated, bucket: str, moto_aws: MotoAws, tmp_path: Path) -> None:
    """The upload is refused at its beginning, with the reason in boto3's own error."""
    large = tmp_path / "large"
    large.write_bytes(bytes(OBJECT_BYTES))
    moto_aws.clear()
    ran = boto(gated, UPLOAD, str(large), agent="reader-bot")
    assert ran.code == 1
    (denied,) = gated.decisions(outcome="DENY")
    assert (denied["operation"], denied["action"]) == ("aws:s3:CreateMultipartUpload", "data:write")
    assert denied["reason"] == f"skill:reader-v1 -- {NOT_ALLOWED}"
    assert "(AccessDenied)" in ran.said
    assert denied["id"] in ran.said
    assert moto_aws.seen == []


SIGN = """print(json.dumps([s3.generate_presigned_url(name, Params={"Bucket": "orders", "Key": "k"})
                      for name in ("put_object", "get_object", "delete_object")]))"""


def test_a_presigned_url_is_what_it_does(gated: Gated, bucket: str, moto_aws: MotoAws, tmp_path: Path) -> None:
    """Whoever has signed it, the agent that uses it is asked; what it may not do it cannot do by a URL either."""
    put, get, delete = json.loads(boto(gated, SIGN).out)
    (tmp_path / "body").write_bytes(b"signed beforehand")
    curl = (needed("curl"), "-sS", "-w", "%{http_code}")
    assert gated.run(*curl, "-T", str(tmp_path / "body"), put).out == "200"
    assert gated.run(*curl, get, agent="reader-bot").out == "signed beforehand200"
    moto_aws.clear()
    refused = gated.run(*curl, "-X", "DELETE", delete, agent="reader-bot")
    assert refused.out.endswith("403")
    calls = called(gated)
    assert [(record["outcome"], record["action"]) for name in calls for record in calls[name]] == [
        ("ALLOW", "data:write"),
        ("ALLOW", "data:read"),
        ("DENY", "data:delete"),
    ]
    assert "X-Amz-Signature" not in json.dumps(calls)
    assert moto_aws.seen == []
