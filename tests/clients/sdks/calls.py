"""Calls by the vendors' own libraries, as an agent's program makes them; runs in an environment of its own.

Reads lines of JSON from stdin: the name of a call and the variables of its environment. Makes it, and prints a line of
JSON: the exception's type and what a person sees of it, both "" when nothing was raised. No client is told anything but
its credentials and, where it needs one, a URL.
"""

import asyncio
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

warnings.simplefilter("ignore")  # the libraries' own deprecations

CALLS: dict[str, Callable[[], Any]] = {}
INSTANCE = "projects/shop/zones/europe-west1-b/instances/web"


def call(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Enter a call under the name of its row."""

    def entered(function: Callable[[], Any]) -> Callable[[], Any]:
        CALLS[name] = function
        return function

    return entered


def aws(service: str) -> Any:
    """A client with two attempts, so that one too many would be seen and none takes long."""
    import boto3
    from botocore.config import Config

    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    return boto3.client(service, **keys, config=Config(retries={"mode": "standard", "total_max_attempts": 2}))


@call("boto3, Query XML")
def aws_query() -> None:
    aws("sts").get_caller_identity()


@call("boto3, EC2 XML")
def aws_ec2() -> None:
    aws("ec2").terminate_instances(InstanceIds=["i-0123456789abcdef0"])


@call("boto3, JSON 1.0")
def aws_json_1_0() -> None:
    aws("sqs").delete_queue(QueueUrl="https://sqs.us-east-1.amazonaws.com/111122223333/orders")


@call("boto3, JSON 1.1")
def aws_json_1_1() -> None:
    aws("secretsmanager").delete_secret(SecretId="main")


@call("boto3, REST JSON")
def aws_rest_json() -> None:
    aws("eks").delete_cluster(name="main")


@call("boto3, REST XML")
def aws_rest_xml() -> None:
    aws("route53").delete_hosted_zone(Id="Z1")


@call("boto3, CBOR")
def aws_cbor() -> None:
    aws("cloudwatch").delete_alarms(AlarmNames=["cpu"])


@call("boto3, S3")
def aws_s3() -> None:
    aws("s3").delete_object(Bucket="shop", Key="orders.csv")


@call("boto3, S3 HEAD")
def aws_s3_head() -> None:
    aws("s3").head_object(Bucket="shop", Key="orders.csv")


@call("Kubernetes Python client")
def kubernetes_api() -> None:
    from kubernetes import client
    from urllib3 import make_headers

    proxy = urlsplit(os.environ["HTTPS_PROXY"])
    configuration = client.Configuration(host="https://kubernetes.test")
    configuration.ssl_ca_cert = os.environ["SSL_CERT_FILE"]
    configuration.proxy = f"http://{proxy.hostname}:{proxy.port}"
    configuration.proxy_headers = make_headers(proxy_basic_auth=f"{proxy.username}:{proxy.password}")
    configuration.retries = False
    with client.ApiClient(configuration) as api:
        client.AppsV1Api(api).delete_namespaced_deployment("web", "default")


@call("google-api-python-client")
def google_api() -> None:
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build

    projects = build("cloudresourcemanager", "v1", credentials=Credentials("token"), static_discovery=True).projects()
    projects.delete(projectId="shop").execute()


@call("google-auth over requests")
def google_auth() -> None:
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    session = AuthorizedSession(Credentials("token"))
    session.delete(f"https://compute.googleapis.com/compute/v1/{INSTANCE}").raise_for_status()


@call("azure-core")
def azure() -> None:
    from azure.core.exceptions import HttpResponseError
    from azure.core.pipeline.policies import RetryPolicy
    from azure.core.rest import HttpRequest
    from azure.mgmt.core import ARMPipelineClient
    from azure.mgmt.core.exceptions import ARMErrorFormat

    url = "https://management.azure.com/subscriptions/s/resourceGroups/shop?api-version=2021-04-01"
    policies = [RetryPolicy(retry_total=1, retry_backoff_factor=0)]
    with ARMPipelineClient("https://management.azure.com", policies=policies) as client:
        answer = client.send_request(HttpRequest("DELETE", url))
        if answer.status_code != 202:  # as the generated clients do for this operation
            raise HttpResponseError(response=answer, error_format=ARMErrorFormat)


@call("hvac")
def vault() -> None:
    import hvac

    hvac.Client("https://vault.test", token="token").secrets.kv.v2.delete_metadata_and_all_versions("shop")


@call("slack-sdk")
def slack() -> None:
    from slack_sdk import WebClient

    WebClient("xoxb-token").chat_postMessage(channel="C1", text="hello")


@call("openai")
def openai() -> None:
    from openai import OpenAI

    OpenAI(api_key="key", max_retries=1).files.delete("file-1")


@call("anthropic")
def anthropic() -> None:
    from anthropic import Anthropic

    message = {"role": "user", "content": "hello"}
    Anthropic(api_key="key", max_retries=1).messages.create(model="claude", max_tokens=1, messages=[message])


@call("docker-py")
def docker() -> None:
    from docker import DockerClient
    from docker.tls import TLSConfig

    trusted = TLSConfig(ca_cert=os.environ["SSL_CERT_FILE"], verify=True)
    DockerClient("tcp://docker.test:443", tls=trusted, version="1.45").containers.prune()


@call("gql")
def graphql() -> None:
    from gql import Client, gql
    from gql.transport.requests import RequestsHTTPTransport

    Client(transport=RequestsHTTPTransport("https://graphql.test/graphql")).execute(gql("mutation { deleteShop }"))


@call("MCP, streamable HTTP")
async def mcp_http() -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with streamable_http_client("https://mcp.test/mcp") as streams, ClientSession(*streams[:2]) as session:
        await asyncio.wait_for(session.initialize(), 60)


@call("MCP, SSE")
async def mcp_sse() -> None:
    from mcp import ClientSession
    from mcp.client.sse import sse_client

    async with sse_client("https://mcp.test/sse") as streams, ClientSession(*streams) as session:
        await asyncio.wait_for(session.initialize(), 60)


def grpc(kind: str) -> None:
    import grpc

    with grpc.secure_channel("grpc.test:443", grpc.ssl_channel_credentials()) as channel:
        ask = getattr(channel, kind)(f"/echo.Echo/{kind}")
        answer = ask(iter([b"hello"]) if kind.startswith("stream") else b"hello", timeout=60)
        list(answer) if kind.endswith("stream") else answer  # what streams in is asked for by reading it


call("gRPC, unary")(lambda: grpc("unary_unary"))
call("gRPC, answers streamed")(lambda: grpc("unary_stream"))
call("gRPC, requests streamed")(lambda: grpc("stream_unary"))
call("gRPC, both streamed")(lambda: grpc("stream_stream"))


def made(name: str) -> tuple[str, str]:
    """Make a call; what it raised."""
    try:
        result = CALLS[name]()
        if inspect.isawaitable(result):
            asyncio.run(result)
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        return type(error).__name__, str(error)
    return "", ""


if __name__ == "__main__":
    for line in sys.stdin:
        name, environ = json.loads(line)
        os.environ.update(environ)
        sys.stdout.write(json.dumps(made(name)) + "\n")
        sys.stdout.flush()
