# ruff: noqa: E501 - a row of a table is one line
"""Requests that an unmodified AWS SDK for Python makes, what hosts and access keys tell, and CBOR bodies."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from mappings import Call, Request, canonical_target
from mappings.catalogues import shipped
from mappings.packs.aws import AwsPack
from mappings.packs.aws_cbor import CborError, TwiceError, read_cbor
from mappings.packs.aws_hosts import keys_of, parts_of
from mappings.packs.aws_s3 import s3_place
from mappings.packs.aws_signature import account_of_key

botocore = pytest.importorskip("botocore.session")

PACK = AwsPack(shipped()["aws"])

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
    ("dynamodb", "batch_get_item", {"RequestItems": {"a": {"Keys": [{"k": {"S": "1"}}]}, "b": {"Keys": [{"k": {"S": "1"}}]}}}, "aws:dynamodb:BatchGetItem", {"TableName": ("a", "b")}),
    ("lambda", "delete_function", {"FunctionName": "web"}, "aws:lambda:DeleteFunction", {}),
    ("eks", "delete_cluster", {"name": "prod"}, "aws:eks:DeleteCluster", {}),
    ("apigateway", "import_rest_api", {"body": b"{}", "parameters": {"anything": "x"}}, "aws:apigateway:ImportRestApi", {}),
    ("s3control", "delete_access_point", {"AccountId": "029608264753", "Name": "apo"}, "aws:s3:DeleteAccessPoint", {}),
    ("sesv2", "delete_email_identity", {"EmailIdentity": "x@y.test"}, "aws:ses:DeleteEmailIdentity", {}),
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


S3_CALLS: tuple[tuple[str, str, dict[str, Any], tuple[str, ...]], ...] = (
    ("an object", "put_object", {"Key": "a/b", "Body": b"x"}, ("PutObject",)),
    ("an object for everybody", "put_object", {"Key": "a", "ACL": "public-read"}, ("PutObject", "PutObjectAcl")),
    (
        "a copy",
        "copy_object",
        {"Key": "a", "CopySource": {"Bucket": "other", "Key": "b c"}},
        ("CopyObject", "GetObject"),
    ),
    ("many", "delete_objects", {"Delete": {"Objects": [{"Key": "a"}]}}, ("DeleteObjects",)),
    ("a bucket", "delete_bucket", {}, ("DeleteBucket",)),
    ("a listing", "list_objects_v2", {"Prefix": "a"}, ("ListObjectsV2",)),
    ("a key with a question mark", "delete_object", {"Key": "a?acl"}, ("DeleteObject",)),
)


@pytest.mark.parametrize("style", ["virtual", "path"])
@pytest.mark.parametrize(
    ("method", "arguments", "names"), [row[1:] for row in S3_CALLS], ids=[row[0] for row in S3_CALLS]
)
def test_a_real_call_of_s3_is_named_wherever_the_bucket_stands(
    style: str, method: str, arguments: dict[str, Any], names: tuple[str, ...]
) -> None:
    """The same call is the same operation on the same bucket, in the host and in the path."""
    config = pytest.importorskip("botocore.config").Config(s3={"addressing_style": style})
    recognition = PACK.recognise(_sent("s3", method, {"Bucket": "orders", **arguments}, config=config))
    assert tuple(call.name for call in recognition.calls) == tuple(f"aws:s3:{name}" for name in names)
    assert recognition.calls[0].captures["Bucket"] == "orders"


def test_a_presigned_url_is_named() -> None:
    """What the SDK puts into a URL for somebody else is the operation it was made for, under its maker's account."""
    client = botocore.get_session().create_client(
        "s3", region_name="eu-west-1", aws_access_key_id=KEY, aws_secret_access_key="x" * 40
    )
    url = urlsplit(client.generate_presigned_url("put_object", {"Bucket": "orders", "Key": "k", "ACL": "public-read"}))
    target = canonical_target(f"{url.path}?{url.query}")
    recognition = PACK.recognise(Request("PUT", "https", url.hostname or "", 443, target.path, target.query, (), None))
    assert [call.name for call in recognition.calls] == ["aws:s3:PutObject", "aws:s3:PutObjectAcl"]


def test_only_what_must_be_read_is_read() -> None:
    """A body is asked for where it names or holds the operation, and streams past everywhere else."""
    assert not PACK.needs_body(_sent("s3", "put_object", {"Bucket": "orders", "Key": "a", "Body": b"x"}))
    assert not PACK.needs_body(_sent("lambda", "invoke", {"FunctionName": "web", "Payload": b"{}"}))
    assert not PACK.needs_body(_sent("sesv2", "delete_email_identity", {"EmailIdentity": "x"}))
    assert PACK.needs_body(_sent("ses", "delete_identity", {"Identity": "x"}))
    assert PACK.needs_body(_sent("dynamodb", "delete_table", {"TableName": "orders"}))
    assert PACK.needs_body(_sent("ec2", "describe_instances", {}))


def test_a_call_in_cbor_acts_on_what_the_same_call_in_json_acts_on() -> None:
    """Whichever protocol an agent picks, the name, the target and the lists are the same."""
    serialize = pytest.importorskip("botocore.serialize")
    json_call = _only(_sent("codebuild", "batch_get_builds", {"ids": ["a", "b"]}))
    model = botocore.get_session().create_client("codebuild", region_name="eu-west-1").meta.service_model
    sent = serialize.create_serializer("smithy-rpc-v2-cbor").serialize_to_request(
        {"ids": ["a", "b"]}, model.operation_model("BatchGetBuilds")
    )
    headers = tuple((name.lower(), value) for name, value in sent["headers"].items())
    host = "codebuild.eu-west-1.amazonaws.com"
    call = _only(Request("POST", "https", host, 443, sent["url_path"], (), headers, sent["body"]))
    assert (
        (call.name, call.lists)
        == (json_call.name, json_call.lists)
        == ("aws:codebuild:BatchGetBuilds", {"ids": ("a", "b")})
    )


CBOR = (
    ("an empty map", "a0", {}),
    ("text", "a1617861 79".replace(" ", ""), {"x": "y"}),
    ("a list", "a16178820102", {"x": [1, 2]}),
    ("indefinite lengths", "bf61789f6179ffff", {"x": ["y"]}),
    ("text in pieces", "a161787f61616162ff", {"x": "ab"}),
    ("a time", "a16178c11a00000001", {"x": 1}),
    ("negative", "a1617820", {"x": -1}),
    ("bytes", "a161784101", {"x": b"\1"}),
    ("true, null, a float", "a16178 83 f5 f6 fb3ff0000000000000".replace(" ", ""), {"x": [True, None, 1.0]}),
)

NO_CBOR = (
    ("a key twice", "a2617801617802", TwiceError),
    ("a key twice, the second in pieces", "a26178017f6178ff02", TwiceError),
    ("a key that is no text", "a10102", CborError),
    ("something behind the end", "a000", CborError),
    ("an early end", "a16178", CborError),
    ("nothing", "", CborError),
    ("a length beyond the end", "9b00000000ffffffff", CborError),
    ("a reserved length", "1c", CborError),
    ("a piece of another kind", "7f4101ff", CborError),
    ("no break", "9f01", CborError),
    ("a break alone", "ff", CborError),
    ("text that is no UTF-8", "61ff", CborError),
    ("too deep", "81" * 200 + "01", CborError),
)


@pytest.mark.parametrize(("body", "value"), [row[1:] for row in CBOR], ids=[row[0] for row in CBOR])
def test_cbor_is_read(body: str, value: object) -> None:
    """What SDKs write is read as what they meant."""
    assert read_cbor(bytes.fromhex(body)) == value


@pytest.mark.parametrize(("body", "error"), [row[1:] for row in NO_CBOR], ids=[row[0] for row in NO_CBOR])
def test_cbor_that_readers_could_read_differently_is_refused(body: str, error: type[CborError]) -> None:
    """No second value of a key, no cut and no lie about a length gets past."""
    with pytest.raises(error):
        read_cbor(bytes.fromhex(body))


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
    ("two labels", "streams.dynamodb.us-east-1.amazonaws.com", ("streams.dynamodb", "us-east-1")),
    ("legacy sqs", "us-east-1.queue.amazonaws.com", ("queue", "us-east-1")),
    ("isolated region", "ec2.us-iso-east-1.c2s.ic.gov", ("ec2", "us-iso-east-1")),
    ("fips and dual stack", "ec2-fips.us-gov-west-1.api.aws", ("ec2", "us-gov-west-1")),
    ("fips before", "fips.batch.us-east-1.amazonaws.com", ("batch", "us-east-1")),
    ("inside a VPC", "vpce-0a-b.ec2.us-east-1.vpce.amazonaws.com", ("ec2", "us-east-1")),
    ("an account's", "029608264753.ddb.us-east-1.amazonaws.com", ("029608264753.ddb", "us-east-1")),
    ("two regions", "ec2.eu-west-1.us-east-1.amazonaws.com", ("", "")),
    ("no VPC endpoint", "ec2.us-east-1.vpce.amazonaws.com", ("", "")),
)


@pytest.mark.parametrize(("host", "place"), [row[1:] for row in HOSTS], ids=[row[0] for row in HOSTS])
def test_an_amazon_host_tells_service_and_region(host: str, place: tuple[str, str]) -> None:
    """How a service is reached is not which service it is."""
    found = parts_of(host, (".c2s.ic.gov", ".amazonaws.com", ".api.aws"))
    assert found is not None
    assert (".".join(found.labels), found.region) == place


@pytest.mark.parametrize("host", ["ec2.test", "amazonaws.com.evil.test", "ec2.eu-west-1.amazonaws.com.evil.test"])
def test_any_other_host_tells_nothing(host: str) -> None:
    """A look-alike suffix is no Amazon host."""
    assert parts_of(host, (".amazonaws.com",)) is None


def test_a_host_is_sought_under_its_closest_key_first() -> None:
    """A label that is somebody's own counts only where no service has that very name."""
    assert list(keys_of(("a", "b", "ddb"))) == ["a.b.ddb", "*.b.ddb", "*.*.ddb"]


@pytest.mark.parametrize("label", ["s3-website", "s3-website-eu-west-1", "s3express-eu", "s4", "s3-nowhere"])
def test_what_only_looks_like_s3_is_not(label: str) -> None:
    """A web site or a made-up label takes no bucket."""
    parts = parts_of(f"orders.{label}.eu-west-1.amazonaws.com", (".amazonaws.com",))
    assert parts is not None
    assert s3_place(parts) is None
