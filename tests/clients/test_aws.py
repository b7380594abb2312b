"""The AWS command line against moto: at the endpoint it makes up itself, and at one that the operator has bound."""

import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from clients.conftest import Behind
from clients.tools import IN_DENY_LIST, Gated, Ran, in_both_ways
from support.needed import needed
from support.targets import MotoAws

type Aws = Callable[..., Ran]
type Ask = Callable[..., str]

REFUSED = (254, 255)  # AWS CLI, "Return codes": an error from the service is 254 in version 2, 255 in version 1
SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"


@pytest.fixture
def ask(moto_aws: MotoAws, target_ca_pem: Path) -> Ask:
    """Ask moto itself, around the gate and unrecorded; the XML it answers."""
    trusted = ssl.create_default_context(cafile=str(target_ca_pem))

    def asked(action: str, **fields: str) -> str:
        form = {"Action": action, "Version": "2016-11-15", **fields}
        answer = httpx.post(
            moto_aws.direct_url, data=form, headers={"Authorization": SIGNED}, verify=trusted, trust_env=False
        )
        moto_aws.clear()
        return answer.raise_for_status().text

    return asked


@pytest.fixture
def instance(ask: Ask) -> str:
    """An instance that was there before the agent came."""
    started = ask("RunInstances", ImageId="ami-12c6146b", MinCount="1", MaxCount="1")
    return re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", started)[0]


@pytest.fixture
def state(ask: Ask, instance: str) -> Callable[[], str]:
    """How the instance is, as moto has it."""

    def named() -> str:
        described = ask("DescribeInstances", **{"InstanceId.1": instance})
        return re.findall(r"<instanceState>\s*<code>\d+</code>\s*<name>([a-z-]+)</name>", described)[0]

    return named


@pytest.fixture
def gated(behind: Behind, moto_aws: MotoAws) -> Gated:
    return behind(moto_aws)


@pytest.fixture
def aws(gated: Gated, moto_aws: MotoAws) -> Aws:
    """Run `aws ec2 ...`."""
    tool = needed("aws")

    def run(*arguments: str, agent: str = "deploy-bot") -> Ran:
        return gated.run(tool, "ec2", *arguments, "--output", "json", agent=agent, **moto_aws.credentials())

    return run


def actions(moto_aws: MotoAws) -> list[str]:
    """What moto was asked through the gate."""
    return [dict(pair.split("=") for pair in seen.body.decode().split("&"))["Action"] for seen in moto_aws.seen]


@in_both_ways
def test_an_agent_may_not_terminate(
    gated: Gated, aws: Aws, moto_aws: MotoAws, instance: str, state: Callable[[], str]
) -> None:
    """aws prints our reason and record as AWS's own refusal; the instance runs on."""
    ran = aws("terminate-instances", "--instance-ids", instance)
    assert ran.code in REFUSED, ran.said
    assert "(UnauthorizedOperation) when calling the TerminateInstances operation: " in ran.err
    denied = gated.denied(ran)
    assert (denied["action"], denied["reason"]) == ("infra:destroy", f"skill:deploy-v2 -- {IN_DENY_LIST}")
    assert denied["operation"] == "aws:ec2:TerminateInstances"
    assert denied["target"].endswith(f"us-east-1/ec2/{instance}")
    assert moto_aws.seen == []
    assert state() == "running"


def test_an_agent_with_another_skill_may(
    gated: Gated, aws: Aws, moto_aws: MotoAws, instance: str, state: Callable[[], str]
) -> None:
    """The same command as another agent ends the instance."""
    ran = aws("terminate-instances", "--instance-ids", instance, agent="operations-bot")
    assert ran.code == 0, ran.said
    (ended,) = json.loads(ran.out)["TerminatingInstances"]
    assert (ended["InstanceId"], ended["PreviousState"]["Name"]) == (instance, "running")
    allowed = gated.only()
    assert (allowed["outcome"], allowed["action"]) == ("ALLOW", "infra:destroy")
    assert (allowed["agent"], allowed["reason"]) == (
        "operations-bot",
        "skill:operations-v1 -- action in allow list",
    )
    assert (gated.outcome_of(allowed)["result"], gated.outcome_of(allowed)["status"]) == ("sent", 200)
    assert actions(moto_aws) == ["TerminateInstances"]
    assert state() == "terminated"


def test_it_may_look(gated: Gated, aws: Aws, moto_aws: MotoAws, instance: str) -> None:
    """A call without an intent of its own is judged by its name."""
    ran = aws("describe-instances")
    assert ran.code == 0, ran.said
    assert json.loads(ran.out)["Reservations"][0]["Instances"][0]["InstanceId"] == instance
    allowed = gated.only()
    assert (allowed["outcome"], allowed["action"]) == ("ALLOW", "aws:ec2:describeinstances")
    assert allowed["reason"] == "skill:deploy-v2 -- action in allow list"
    assert actions(moto_aws) == ["DescribeInstances"]


def test_an_endpoint_of_the_operator_s_is_read_alike(
    gated: Gated, aws: Aws, moto_aws: MotoAws, instance: str, state: Callable[[], str]
) -> None:
    """A host that is no Amazon name but bound to the pack gets the same answers; all instances are judged."""
    endpoint = ("--endpoint-url", "https://aws.test")
    several = ("terminate-instances", "--instance-ids", "i-0123456789abcdef0", instance)
    ran = aws(*several, *endpoint)
    assert (ran.code in REFUSED, "(UnauthorizedOperation)" in ran.err) == (True, True), ran.said
    denied = gated.decisions(outcome="DENY")
    assert [record["target"] for record in denied] == [
        "aws/test/us-east-1/ec2/i-0123456789abcdef0",
        f"aws/test/us-east-1/ec2/{instance}",
    ]
    assert denied[0]["request"] == denied[1]["request"]
    assert denied[0]["id"] in ran.err
    assert denied[0]["reason"] in ran.err
    assert (moto_aws.seen, state()) == ([], "running")
