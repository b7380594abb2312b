"""HTTP clients as agents use them, with nothing but the environment set."""

import json
import sys

import pytest

from clients.conftest import Behind
from clients.tools import CHRON_ID, IN_DENY_LIST, in_both_ways
from support.needed import needed
from support.targets import Origin

REQUESTS = """
import requests, sys
answer = requests.request(*sys.argv[1:])
print(answer.status_code, answer.headers["x-chron-id"], answer.text)
sys.exit(not answer.ok)
"""
HTTPX = """
import httpx, sys
answer = httpx.request(*sys.argv[1:])
print(answer.status_code, answer.headers["x-chron-id"], answer.text)
sys.exit(answer.is_error)
"""
URLLIB = """
import sys, urllib.error, urllib.request
method, url = sys.argv[1:]
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, method=method))
except urllib.error.HTTPError as error:
    answer = error
with answer:
    print(answer.status, answer.headers["x-chron-id"], answer.read().decode())
sys.exit(answer.status >= 400)
"""
FETCH = """
const [method, url] = process.argv.slice(1);
fetch(url, {method}).then(async (answer) => {
  console.log(answer.status, answer.headers.get('x-chron-id'), await answer.text());
  process.exitCode = answer.ok ? 0 : 1;
});
"""
NODE = """
const [method, url] = process.argv.slice(1);
require('node:https').request(url, {method}, (answer) => {
  process.stdout.write(`${answer.statusCode} ${answer.headers['x-chron-id']} `);
  answer.pipe(process.stdout);
  process.exitCode = answer.statusCode < 400 ? 0 : 1;
}).end();
"""
CLIENTS = {
    "curl": ["curl", "-sS", "--fail-with-body", "-w", "\n%{http_code} %header{x-chron-id}", "-X"],
    "requests": [sys.executable, "-c", REQUESTS],
    "httpx": [sys.executable, "-c", HTTPX],
    "urllib": [sys.executable, "-c", URLLIB],
    "fetch": ["node", "-e", FETCH],
    "https.request": ["node", "-e", NODE],
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_read_is_allowed(behind: Behind, origin: Origin, client: str) -> None:
    """It arrives without our credentials and is answered; the answer names the record."""
    gated = behind(origin)
    tool, *arguments = CLIENTS[client]
    ran = gated.run(needed(tool), *arguments, "GET", f"{origin.url}/echo?x=1")
    assert (ran.code, "200" in ran.out) == (0, True), ran.said
    (seen,) = origin.seen
    assert (seen.method, seen.path, seen.header("proxy-authorization")) == ("GET", "/echo?x=1", None)
    allowed = gated.only()
    assert (allowed["outcome"], allowed["action"], allowed["target"]) == ("ALLOW", "data:read", "origin.test/echo")
    assert allowed["reason"] == "skill:deploy-v2 -- action in allow list"
    assert CHRON_ID.findall(ran.out) == [allowed["id"]]
    assert gated.outcome_of(allowed)["result"] == "sent"


@in_both_ways
@pytest.mark.parametrize("client", CLIENTS)
def test_a_deletion_is_denied(behind: Behind, origin: Origin, client: str) -> None:
    """It is answered 403 with reason and record, and the target is not even connected to."""
    gated = behind(origin)
    tool, *arguments = CLIENTS[client]
    ran = gated.run(needed(tool), *arguments, "DELETE", f"{origin.url}/things/7")
    assert ran.code == (22 if client == "curl" else 1), ran.said  # curl(1), "EXIT CODES"
    denied = gated.denied(ran)
    assert "403" in ran.out
    assert (denied["agent"], denied["action"], denied["target"]) == (
        "deploy-bot",
        "infra:destroy",
        "origin.test/things/7",
    )
    assert denied["reason"] == f"skill:deploy-v2 -- {IN_DENY_LIST}"
    problem = json.loads(ran.out[ran.out.index("{") : ran.out.index("}") + 1])
    assert (problem["outcome"], problem["chron_id"]) == ("DENY", denied["id"])
    assert origin.connections == 0
