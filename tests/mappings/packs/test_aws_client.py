# ruff: noqa: E501 - a row of a table is one line
"""Requests that an unmodified AWS SDK for Python makes, and the service table against the SDK's own models."""

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mappings import Call, Request, canonical_target
from mappings.packs.aws import PACK
from mappings.packs.aws_services import SERVICES
from mappings.packs.aws_signature import account_of_key, place_of_host

botocore = pytest.importorskip("botocore.session")

KEY = "ASIAQNZGKIQY56JQ7WML"

CALLS: tuple[tuple[str, str, dict[str, Any], str, dict[str, tuple[str, ...]]], ...] = (
    ("ec2", "terminate_instances", {"InstanceIds": ["i-a", "i-b"]}, "aws:ec2:TerminateInstances", {"InstanceId": ("i-a", "i-b")}),
    ("ec2", "describe_instances", {}, "aws:ec2:DescribeInstances", {}),
    ("ec2", "run_instances", {"MinCount": 1, "MaxCount": 1, "ImageId": "ami-1"}, "aws:ec2:RunInstances", {}),
    ("iam", "create_access_key", {"UserName": "bob"}, "aws:iam:CreateAccessKey", {}),
    ("sts", "assume_role", {"RoleArn": "arn:aws:iam::029608264753:role/x", "RoleSessionName": "s1"}, "aws:sts:AssumeRole", {}),
    ("sts", "get_caller_identity", {}, "aws:sts:GetCallerIdentity", {}),
    ("rds", "delete_db_instance", {"DBInstanceIdentifier": "main"}, "aws:rds:DeleteDBInstance", {}),
    ("cloudformation", "delete_stack", {"StackName": "s"}, "aws:cloudformation:DeleteStack", {}),
    ("elbv2", "delete_load_balancer", {"LoadBalancerArn": "arn:x/y"}, "aws:elasticloadbalancing:DeleteLoadBalancer", {}),
    ("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroupNames": ["a", "b"]}, "aws:autoscaling:DescribeAutoScalingGroups", {"AutoScalingGroupNames": ("a", "b")}),
    ("sns", "publish", {"TopicArn": "arn:aws:sns:eu-west-1:029608264753:t", "Message": "a;b&c=d"}, "aws:sns:Publish", {}),
    ("ses", "send_raw_email", {"RawMessage": {"Data": b"x"}}, "aws:ses:SendRawEmail", {}),
    ("dynamodb", "delete_table", {"TableName": "orders"}, "aws:dynamodb:DeleteTable", {}),
    ("dynamodbstreams", "list_streams", {}, "aws:dynamodb:ListStreams", {}),
    ("secretsmanager", "get_secret_value", {"SecretId": "db"}, "aws:secretsmanager:GetSecretValue", {}),
    ("ecs", "update_service", {"service": "web", "cluster": "c"}, "aws:ecs:UpdateService", {}),
    ("ecr", "get_authorization_token", {}, "aws:ecr:GetAuthorizationToken", {}),
    ("ssm", "send_command", {"DocumentName": "d", "InstanceIds": ["i-a"]}, "aws:ssm:SendCommand", {"InstanceIds": ("i-a",)}),
    ("kms", "schedule_key_deletion", {"KeyId": "k"}, "aws:kms:ScheduleKeyDeletion", {}),
    ("logs", "delete_log_group", {"logGroupName": "g"}, "aws:logs:DeleteLogGroup", {}),
    ("sqs", "purge_queue", {"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/029608264753/jobs"}, "aws:sqs:PurgeQueue", {}),
    ("cloudwatch", "delete_alarms", {"AlarmNames": ["a"]}, "aws:monitoring:DeleteAlarms", {}),
    ("sagemaker", "delete_endpoint", {"EndpointName": "e"}, "aws:sagemaker:DeleteEndpoint", {}),
)  # fmt: skip


def _sent(service: str, method: str, arguments: dict[str, Any], **settings: Any) -> Request:
    """Return the request a real client would have sent."""
    kept: list[Any] = []

    def stop(request: Any, **_: Any) -> Any:
        kept.append(request)
        raise InterruptedError

    session = botocore.get_session()
    client = session.create_client(
        service, region_name="eu-west-1", aws_access_key_id=KEY, aws_secret_access_key="x" * 40, **settings
    )
    client.meta.events.register("before-send", stop)
    with pytest.raises(InterruptedError):
        getattr(client, method)(**arguments)
    return _request(kept[0])


def _request(sent: Any) -> Request:
    url = urlsplit(sent.url)
    target = canonical_target((url.path or "/") + (f"?{url.query}" if url.query else ""))
    headers = tuple(
        (name.lower(), value.decode() if isinstance(value, bytes) else value) for name, value in sent.headers.items()
    )
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
    return Request(sent.method, "https", url.hostname or "", 443, target.path, target.query, headers, body)


def _only(request: Request) -> Call:
    recognition = PACK.recognise(request)
    assert recognition.problem is None, recognition.problem
    (call,) = recognition.calls
    return call


@pytest.mark.parametrize(("service", "method", "arguments", "name", "lists"), CALLS, ids=[call[3] for call in CALLS])
def test_a_real_call_is_named(
    service: str, method: str, arguments: dict[str, Any], name: str, lists: dict[str, tuple[str, ...]]
) -> None:
    """The name, region, account and listed ids of a real request are the ones it was made with."""
    call = _only(_sent(service, method, arguments))
    assert call.name == name
    assert call.captures["account"] == "029608264753"
    assert {key: call.lists[key] for key in lists} == lists
    if service != "iam":
        assert call.captures["region"] == "eu-west-1"


def test_a_real_call_to_a_stand_in_is_named_by_its_signature() -> None:
    """With --endpoint-url the host says nothing, so the credential scope does."""
    sent = _sent("ec2", "terminate_instances", {"InstanceIds": ["i-a"]}, endpoint_url="https://ec2.test")
    assert _only(sent).name == "aws:ec2:TerminateInstances"


def test_the_table_agrees_with_the_models() -> None:
    """Each row's protocols, target prefixes and hosts are those of the SDK; no host belongs to a REST service."""
    models = _models()
    rpc = {"json": "json", "query": "query", "ec2": "query", "smithy-rpc-v2-cbor": "cbor"}
    every = [metadata for same in models.values() for metadata in same]
    rest_hosts = {each["endpointPrefix"] for each in every if each["protocol"].startswith("rest-")}
    for service in SERVICES.values():
        metadata = [each for each in models[service.name] if not each["protocol"].startswith("rest-")]
        spoken = {rpc[name] for each in metadata for name in each.get("protocols", [each["protocol"]])}
        # SQS and CloudWatch still answer their former Query protocol.
        assert service.protocols - spoken <= {"query"}, service
        assert service.target_prefixes <= {each.get("targetPrefix") for each in metadata}, service
        assert set(service.hosts) & {each["endpointPrefix"] for each in metadata}, service
        # SES and SimpleDB have REST versions at the same host; their paths begin with /v2/, and ours is "/".
        assert set(service.hosts) & rest_hosts <= {"email", "sdb"}, service


def _models() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    data = Path(botocore.__file__).parent / "data"
    for service in data.iterdir():
        versions = sorted(service.glob("*/service-2.json.gz"))
        if versions:
            metadata = json.loads(gzip.decompress(versions[-1].read_bytes()))["metadata"]
            found.setdefault(metadata.get("signingName", metadata["endpointPrefix"]), []).append(metadata)
    return found


ACCOUNTS = (
    ("the published example", KEY, "029608264753"),
    ("an old key tells none", "AKIAIOSFODNN7EXAMPLE", ""),
    ("an old key of letters", "AKIAJAAAAAAAAAAAAAAA", ""),
    ("not base32", "AKIA0000000000000001", ""),
    ("too short", "AKIA", ""),
    ("a role id is no key", "AROAQNZGKIQY56JQ7WML", ""),
    ("moto's", "testing", ""),
)


@pytest.mark.parametrize(("key", "account"), [row[1:] for row in ACCOUNTS], ids=[row[0] for row in ACCOUNTS])
def test_an_access_key_tells_its_account(key: str, account: str) -> None:
    """The account stands in keys made since 2019, and is never guessed."""
    assert account_of_key(key) == account


HOSTS = (
    ("regional", "ec2.eu-west-1.amazonaws.com", ("ec2", "eu-west-1")),
    ("global", "iam.amazonaws.com", ("iam", "")),
    ("another name than the signing name", "email.us-east-1.amazonaws.com", ("ses", "us-east-1")),
    ("two labels", "streams.dynamodb.us-east-1.amazonaws.com", ("dynamodb", "us-east-1")),
    ("legacy sqs", "us-east-1.queue.amazonaws.com", ("sqs", "us-east-1")),
    ("isolated region", "ec2.us-iso-east-1.amazonaws.com", ("ec2", "us-iso-east-1")),
    ("a bucket", "ec2.s3.eu-west-1.amazonaws.com", ("", "eu-west-1")),
    ("a load balancer", "sts.eu-west-1.elb.amazonaws.com", ("", "eu-west-1")),
    ("two regions", "ec2.eu-west-1.us-east-1.amazonaws.com", ("", "")),
    ("no label", "eu-west-1.amazonaws.com", ("", "eu-west-1")),
)


@pytest.mark.parametrize(("host", "place"), [row[1:] for row in HOSTS], ids=[row[0] for row in HOSTS])
def test_an_amazon_host_tells_service_and_region(host: str, place: tuple[str, str]) -> None:
    """Only a service's own endpoint names it; hosts that customers own never do."""
    found = place_of_host(host)
    assert found is not None
    assert (found.service, found.region) == place


@pytest.mark.parametrize("host", ["ec2.test", "amazonaws.com.evil.test", "ec2.eu-west-1.amazonaws.com.evil.test"])
def test_any_other_host_tells_nothing(host: str) -> None:
    """A look-alike suffix is no Amazon host."""
    assert place_of_host(host) is None
