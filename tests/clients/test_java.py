"""Java, which takes proxy, trust store and credentials from its environment, and programs that do not."""

import subprocess

import pytest

from clients.conftest import Behind
from clients.tools import IN_DENY_LIST, Gated, Ran, in_both_ways
from support.needed import needed
from support.targets import Origin

PROGRAM = """
import java.net.*;
import java.net.http.*;
import java.nio.charset.StandardCharsets;

class Ask {
    public static void main(String[] given) throws Exception {
        switch (given[0]) {
            case "HttpClient" -> {
                var request = HttpRequest.newBuilder(URI.create(given[2])).build();
                var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
                end(answer.statusCode(), answer.body());
            }
            case "its own Authenticator" -> {
                String[] pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo().split(":", 2);
                Authenticator.setDefault(new Authenticator() {
                    @Override protected PasswordAuthentication getPasswordAuthentication() {
                        return new PasswordAuthentication(pair[0], pair[1].toCharArray());
                    }
                });
            }
        }
        HttpURLConnection asked = (HttpURLConnection) new URL(given[2]).openConnection();
        asked.setRequestMethod(given[1]);
        int status = asked.getResponseCode();
        var body = status < 400 ? asked.getInputStream() : asked.getErrorStream();
        end(status, new String(body.readAllBytes(), StandardCharsets.UTF_8));
    }

    static void end(int status, String text) {
        System.out.println(status + " " + text);
        System.exit(status < 400 ? 0 : 1);
    }
}
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A compiled program that makes one request: KIND METHOD URL."""
    folder = tmp_path_factory.mktemp("java")
    (folder / "Ask.java").write_text(PROGRAM)
    subprocess.run([needed("javac"), "-d", str(folder), str(folder / "Ask.java")], check=True, timeout=120)
    return [needed("java"), "-cp", str(folder), "Ask"]


def is_gated(gated: Gated, ask: list[str], origin: Origin, kind: str) -> None:
    """A read is answered; a deletion is refused, with reason and record, and goes nowhere."""

    def asked(method: str) -> Ran:
        ran = gated.run(*ask, kind, method, f"{origin.url}/echo")
        assert "clm_" not in ran.err, "JAVA_TOOL_OPTIONS is printed by every JVM and must not hold the token"
        return ran

    read = asked("GET")
    assert (read.code, read.out[:4]) == (0, "200 "), read.said
    allowed = gated.only(outcome="ALLOW")
    assert (allowed["action"], allowed["reason"]) == ("data:read", "skill:deploy-v2 -- action in allow list")
    assert [(seen.method, seen.header("proxy-authorization")) for seen in origin.seen] == [("GET", None)]

    deletion = asked("DELETE")
    assert (deletion.code, deletion.out[:4]) == (1, "403 "), deletion.said
    denied = gated.only(outcome="DENY", action="infra:destroy")
    assert denied["reason"] == f"skill:deploy-v2 -- {IN_DENY_LIST}"
    assert denied["reason"] in deletion.out
    assert denied["id"] in deletion.out
    assert len(origin.seen) == 1


@in_both_ways
def test_java_is_gated(behind: Behind, ask: list[str], origin: Origin) -> None:
    """A program that knows of no proxy brings the credentials that its environment has for it."""
    is_gated(behind(origin), ask, origin, "URL")


def test_a_program_with_an_authenticator_of_its_own_is_gated(behind: Behind, ask: list[str], origin: Origin) -> None:
    """It answers the challenge itself, and is allowed and refused like any other."""
    is_gated(behind(origin), ask, origin, "its own Authenticator")


def test_a_client_that_asks_no_authenticator_is_turned_away(behind: Behind, ask: list[str], origin: Origin) -> None:
    """java.net.http comes to the gate without credentials: 407, recorded, nothing reaches the target."""
    gated = behind(origin)
    ran = gated.run(*ask, "HttpClient", "GET", f"{origin.url}/echo")
    assert (ran.code, ran.out[:4]) == (1, "407 "), ran.said
    denied = gated.decisions()
    assert {(one["outcome"], one["code"], one["host"]) for one in denied} == {
        ("DENY", "agent.no-credentials", "origin.test")
    }
    assert {gated.outcome_of(one)["status"] for one in denied} == {407}
    assert origin.connections == 0
