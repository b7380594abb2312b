"""Bodies whose length their sender does not say: chunked in HTTP/1.1, frames in HTTP/2, one body at the target."""

import sys

import pytest

from clients.conftest import Behind
from support.needed import needed
from support.targets import Origin

UNJUDGED = b"DELETE /things/7 HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\n\r\n"
"""What a body must not become: the next request, which nobody has named or allowed."""

CURL = 'printf "$3" | curl -sS -f "--$1" -X POST -H "Content-Type: application/json" -T - "$2"'
HTTPX = """
import httpx, sys
version, url, body = sys.argv[1:]
parts = [body[:3].encode(), b"", body[3:].encode()]
with httpx.Client(http2=version == "http2") as client:
    answer = client.post(url, content=iter(parts), headers={"Content-Type": "application/json"})
print(answer.http_version)
sys.exit(answer.is_error)
"""
CLIENTS = {
    "curl": ["sh", "-c", CURL, "sh"],
    # With an empty piece in the middle, which ends a chunked body when it is written down as it came.
    "httpx": [sys.executable, "-c", HTTPX],
}
BODIES = {
    "no rule reads it": ("/upload", UNJUDGED.decode(), "data:write"),
    "a rule reads it": ("/runs", '{"destroy": false}', "deploy:staging"),
}


@pytest.mark.parametrize(("path", "body", "action"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("version", ["http1.1", "http2"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_body_stays_one_body(
    behind: Behind, origin: Origin, client: str, version: str, path: str, body: str, action: str
) -> None:
    """The target sees one request with the whole body, whichever version brought it."""
    needed("curl")
    gated = behind(origin)
    ran = gated.run(*CLIENTS[client], version, origin.url + path, body)
    assert ran.code == 0, ran.said
    assert [(seen.method, seen.path, seen.body) for seen in origin.seen] == [("POST", path, body.encode())]
    allowed = gated.only()
    assert (allowed["outcome"], allowed["action"]) == ("ALLOW", action)
    assert allowed["reason"] == "skill:deploy-v2 -- action in allow list"
    assert gated.outcome_of(allowed)["request_bytes"] == len(body)
