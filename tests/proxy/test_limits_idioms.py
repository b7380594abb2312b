"""What is refused before it could be read, or for a limit, is told in its caller's words as any denial is."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from support.gate import running
from support.raw import read_all, status, tunnel
from support.targets import Origin
from support.timed import TimedGate
from support.until import until

pytestmark = pytest.mark.engines

KUBERNETES, AWS = "api.k8s.test", "aws.test"
MAPPINGS = {"version": 1, "bind": [{"host": KUBERNETES, "pack": "kubernetes"}, {"host": AWS, "pack": "aws"}]}
_SCOPE = "Authorization: AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-1/%s/aws4_request"

HEADS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kubernetes": (KUBERNETES, ("GET /api/v1/namespaces/default/pods HTTP/1.1",)),
    "aws, JSON": (
        AWS,
        (
            "POST / HTTP/1.1",
            "X-Amz-Target: DynamoDB_20120810.GetItem",
            "Content-Type: application/x-amz-json-1.0",
            _SCOPE % "dynamodb",
        ),
    ),
    "aws, XML": (
        AWS,
        ("POST / HTTP/1.1", "Content-Type: application/x-www-form-urlencoded; charset=utf-8", _SCOPE % "iam"),
    ),
    "aws, S3": (AWS, ("GET /bucket/key HTTP/1.1", _SCOPE % "s3")),
}


def told(named: str, answer: bytes) -> tuple[str, str]:
    """What the caller shows of an answer: the error's name, and its message."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if named == "kubernetes":
        said = json.loads(body)
        assert (said["kind"], said["code"]) == ("Status", status(answer))
        return said["reason"], said["message"]
    if named == "aws, JSON":
        said = json.loads(body)
        assert b"Content-Type: application/x-amz-json-1.0" in head
        return said["__type"], said["message"]
    error = ElementTree.fromstring(body).find("Error") if named == "aws, XML" else ElementTree.fromstring(body)
    assert error is not None
    return error.findtext("Code", ""), error.findtext("Message", "")


def began(named: str) -> bytes:
    host, lines = HEADS[named]
    return "".join(f"{line}\r\n" for line in (lines[0], f"Host: {host}", "Connection: close", *lines[1:])).encode()


NO_HTTP, TOO_LONG = b"no field\r\n\r\n", b"X-A: " + b"a" * 20_000
REFUSED: dict[str, tuple[Callable[[str], bytes], int, str, str]] = {
    "no HTTP": (lambda named: began(named) + NO_HTTP, 400, "wire.malformed", "BadRequest"),
    "two lengths": (
        lambda named: began(named) + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
        "wire.malformed",
        "BadRequest",
    ),
    "a method of its own": (
        lambda named: b"get " + began(named).partition(b" ")[2] + b"\r\n",
        400,
        "wire.method",
        "BadRequest",
    ),
    "a head without an end": (
        lambda named: began(named) + TOO_LONG,
        431,
        "wire.head-too-long",
        "RequestHeaderFieldsTooLarge",
    ),
    "a long field": (
        lambda named: began(named) + TOO_LONG[:4000] + b"\r\n\r\n",
        431,
        "wire.field-too-long",
        "RequestHeaderFieldsTooLarge",
    ),
}


def gate_of(folder: Path, origin: Origin, ca: Path, **limits: Any) -> TimedGate:
    return TimedGate(folder / "gate", origin, target_ca=ca, mappings=MAPPINGS, limits=limits)


@pytest.mark.parametrize("named", HEADS)
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_refused_in_the_callers_words(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, named: str, what: str
) -> None:
    """With what of a head has come, and the record's id; the record has nothing of what could not be read."""
    sent, expected, code, word = REFUSED[what]
    host, _ = HEADS[named]
    gate = gate_of(tmp_path, origin, target_ca_pem, head_bytes=9000, field_bytes=2000)
    with running(gate):
        with tunnel(gate, f"{host}:443", sni=host) as secure:
            secure.sendall(sent(named))
            answer = read_all(secure)
        (record,) = gate.records()
    assert status(answer) == expected
    called, message = told(named, answer)
    assert called == word
    assert f"{record['reason']} [{record['id']}]" in message
    assert (record["code"], record["host"]) == (code, host)
    if code in ("wire.malformed", "wire.head-too-long") and what != "two lengths":
        assert {record.get("method", ""), record.get("path", "")} == {""}


@pytest.mark.parametrize("named", HEADS)
def test_a_head_that_does_not_come_is_answered_in_them_too(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, named: str
) -> None:
    """By what has come of it; such ends are counted and have no record each."""
    host, _ = HEADS[named]
    gate = gate_of(tmp_path, origin, target_ca_pem, head_s=30)
    with running(gate), tunnel(gate, f"{host}:443", sni=host) as secure:
        secure.sendall(began(named))
        until(lambda: gate.unread_bytes() == len(began(named)))
        for _ in range(33):  # a look at a time, since what one look ends the next one closes
            gate.pass_(1)
        answer = read_all(secure)
        (counted,) = gate.refusals()
    assert status(answer) == 408
    called, message = told(named, answer)
    assert called == "RequestTimeout"
    assert message.startswith("limit -- the head of the request did not come in time; ")
    assert json.loads(counted["codes"]) == {"limit.head-time": 1}


BUSY = {
    "kubernetes": "TooManyRequests",
    "aws, JSON": "ThrottlingException",
    "aws, XML": "Throttling",
    "aws, S3": "SlowDown",
}


@pytest.mark.parametrize("named", HEADS)
def test_one_request_too_many_is_called_that(tmp_path: Path, origin: Origin, target_ca_pem: Path, named: str) -> None:
    """As the caller's own API calls it, so that what it repeats by itself it repeats here."""
    host, _ = HEADS[named]
    gate = gate_of(tmp_path, origin, target_ca_pem, each_agent={"requests": 1})
    with running(gate), ExitStack() as stack:
        held = stack.enter_context(tunnel(gate, f"{AWS}:443", sni=AWS))
        held.sendall(began("aws, JSON") + b"Content-Length: 10\r\n\r\n{")
        until(lambda: gate.in_use() > 1)
        with tunnel(gate, f"{host}:443", sni=host) as secure:
            secure.sendall(began(named) + b"\r\n")
            answer = read_all(secure)
        (record,) = gate.records()
    assert status(answer) == 429
    called, message = told(named, answer)
    assert called == BUSY[named]
    assert f"{record['reason']} [{record['id']}]" in message
    assert record["code"] == "limit.requests"
