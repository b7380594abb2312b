"""Java, which takes the proxy and the trust store from its environment, but no credentials."""

import pytest

from clients.conftest import Behind
from clients.tools import IN_DENY_LIST, in_both_ways
from support.needed import needed
from support.targets import Origin

PROGRAM = """
import java.net.*;
import java.nio.charset.StandardCharsets;

class Ask {
    public static void main(String[] given) throws Exception {
        if (given.length > 2) {
            String[] pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo().split(":", 2);
            Authenticator.setDefault(new Authenticator() {
                @Override protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication(pair[0], pair[1].toCharArray());
                }
            });
        }
        HttpURLConnection asked = (HttpURLConnection) new URL(given[1]).openConnection();
        asked.setRequestMethod(given[0]);
        int status = asked.getResponseCode();
        var body = status < 400 ? asked.getInputStream() : asked.getErrorStream();
        // There is none for a refused CONNECT: Java keeps what a proxy says to itself.
        String text = body == null ? "" : new String(body.readAllBytes(), StandardCharsets.UTF_8);
        System.out.println(status + " " + text);
        System.exit(status < 400 ? 0 : 1);
    }
}
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A compiled program that makes one request: METHOD URL [anything = with an Authenticator]."""
    import subprocess

    folder = tmp_path_factory.mktemp("java")
    (folder / "Ask.java").write_text(PROGRAM)
    subprocess.run([needed("javac"), "-d", str(folder), str(folder / "Ask.java")], check=True, timeout=120)
    return [needed("java"), "-cp", str(folder), "Ask"]


def test_java_brings_no_credentials(behind: Behind, ask: list[str], origin: Origin) -> None:
    """It comes to the gate and is turned away there: 407, recorded, nothing reaches the target."""
    gated = behind(origin)
    ran = gated.run(*ask, "GET", f"{origin.url}/echo")
    assert (ran.code, ran.out) == (1, "407 \n"), ran.said
    denied = gated.decisions()
    assert {(one["outcome"], one["code"], one["host"]) for one in denied} == {
        ("DENY", "agent.no-credentials", "origin.test")
    }
    assert {gated.outcome_of(one)["status"] for one in denied} == {407}
    assert origin.connections == 0
    assert "clm_" not in ran.err, "JAVA_TOOL_OPTIONS is printed by every JVM and must not hold the token"


@in_both_ways
def test_java_with_an_authenticator_is_gated(behind: Behind, ask: list[str], origin: Origin) -> None:
    """A program that answers the challenge itself is allowed and refused like any other."""
    gated = behind(origin)
    read = gated.run(*ask, "GET", f"{origin.url}/echo", "with credentials")
    assert (read.code, read.out[:4]) == (0, "200 "), read.said
    allowed = gated.only(outcome="ALLOW")
    assert (allowed["action"], allowed["reason"]) == ("data:read", "skill:deploy-v2 -- action in allow list")
    assert [(seen.method, seen.header("proxy-authorization")) for seen in origin.seen] == [("GET", None)]

    deletion = gated.run(*ask, "DELETE", f"{origin.url}/echo", "with credentials")
    assert (deletion.code, deletion.out[:4]) == (1, "403 "), deletion.said
    denied = gated.only(outcome="DENY", action="infra:destroy")
    assert denied["reason"] == f"skill:deploy-v2 -- {IN_DENY_LIST}"
    assert denied["reason"] in deletion.out
    assert denied["id"] in deletion.out
    assert len(origin.seen) == 1
