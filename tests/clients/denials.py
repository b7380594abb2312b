"""What each caller shows of a refusal: the table of docs/denials.md, which the tests hold; and two gates that refuse.

denied        by policy, or because the agent is suspended, or because a person has to say yes: 403
unrecorded    the gate cannot write it down: 503
wrong token   no tunnel at all: 407 to CONNECT
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.tools import AGENTS
from policies import credential
from proxy.wiring import write_bundle
from support.gate import LiveGate

REASON, STATUS, NOTHING, UNTRIED = "the reason", "the status", "nothing", "-"
"""All of it, with the record's id where there is one; its number; not even that; no test has looked."""

UNRECORDED = "gate -- the decision cannot be recorded"
BOTS = {"denied-bot": "reader-v1", "waiting-bot": "waiting-v1", "suspended-bot": "reader-v1", "writer-bot": "writer-v1"}
CASES: dict[str, tuple[str, bool]] = {
    "denied": ("denied-bot", True),
    "suspended": ("suspended-bot", True),
    "waiting": ("waiting-bot", True),
    "wrong token": ("denied-bot", False),
    "unrecorded": ("writer-bot", True),
}
"""The agent of each, and whether its token is right."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One row of the table."""

    idiom: str
    """What it gets, in the words of the page."""
    denied: str = REASON
    unrecorded: str = REASON
    wrong_token: str = REASON
    requests: int = 1
    """How many it makes of which each is refused for good; one more would be a denial that is asked for again."""

    def shows(self, case: str) -> str:
        """Which of the three it shows."""
        return {"unrecorded": self.unrecorded, "wrong token": self.wrong_token}.get(case, self.denied)


AWS = {"wrong_token": UNTRIED}
"""Of each library it is tried once, for it is not the protocol's affair."""
GRPC = "status 7 or 14 and a message in the head of an answer"

SDKS: dict[str, Caller] = {
    "boto3, Query XML": Caller("`ErrorResponse`", **AWS),
    "boto3, EC2 XML": Caller("`Response`, code `UnauthorizedOperation`", **AWS),
    "boto3, JSON 1.0": Caller("`__type` and `message`", **AWS),
    "boto3, JSON 1.1": Caller("`__type` and `message`", **AWS),
    "boto3, REST JSON": Caller("`X-Amzn-ErrorType` and `message`", wrong_token=NOTHING),
    "boto3, REST XML": Caller("`ErrorResponse`", **AWS),
    "boto3, CBOR": Caller("a map of `__type` and `message`", **AWS),
    "boto3, S3": Caller("`Error` without a frame", **AWS),
    "boto3, S3 HEAD": Caller("no body in any protocol", denied=STATUS, unrecorded=STATUS, **AWS),
    "Kubernetes Python client": Caller("`Status`"),
    "google-api-python-client": Caller("`error` with `status` and `ErrorInfo`"),
    "google-auth over requests": Caller("the same; `raise_for_status` prints the status line"),
    "azure-core": Caller("`error` with `code` and `message`"),
    "hvac": Caller("`errors`"),
    "slack-sdk": Caller("`ok: false` and `response_metadata.messages`"),
    "openai": Caller("`error` with `type` and `message`", wrong_token=NOTHING),
    "anthropic": Caller("`error` with `type` and `message`", wrong_token=NOTHING),
    "docker-py": Caller("`message`"),
    "gql": Caller("`errors` with `extensions`"),
    "MCP, streamable HTTP": Caller("JSON-RPC `error` with the call's id, in a 200"),
    "MCP, SSE": Caller("JSON-RPC `error`; it prints the status line of its GET"),
    "gRPC, unary": Caller(GRPC, wrong_token=STATUS),
    "gRPC, answers streamed": Caller(GRPC, wrong_token=UNTRIED),
    "gRPC, requests streamed": Caller(GRPC, wrong_token=UNTRIED),
    "gRPC, both streamed": Caller(GRPC, wrong_token=UNTRIED),
}
"""Libraries, by the name of the call in sdks/calls.py."""

TOOLS: dict[str, Caller] = {
    "kubectl get --raw": Caller("`Status`", requests=2),
    "kubectl, discovery": Caller("text; 500 for the gate's own failures", requests=6),
    "aws": Caller("the protocol of the call, as boto3", wrong_token=NOTHING),
    "aws s3 cp": Caller("none: it asks with HEAD first", denied=STATUS, unrecorded=UNTRIED, wrong_token=UNTRIED),
    "gh api": Caller("`message`"),
    "gh api graphql": Caller("`message`"),
    "gh pr list": Caller("`message`"),
    "octokit": Caller("`message`"),
    "octokit graphql": Caller("`message`"),
    "git clone": Caller("text to the first request", wrong_token=STATUS),
    "git lfs": Caller("`message`"),
    "docker": Caller("`message`", requests=5),
    "gcloud": Caller("`error` with `status` and `ErrorInfo`", unrecorded=UNTRIED, wrong_token=UNTRIED),
    "terraform, http backend": Caller("nothing that it prints", denied=NOTHING, unrecorded=UNTRIED),
    "npm": Caller("the status line", unrecorded=UNTRIED),
    "pip, an index": Caller("nothing without `-v`", denied=NOTHING, unrecorded=UNTRIED, wrong_token=UNTRIED),
    "cargo": Caller("problem document", wrong_token=STATUS),
    "curl": Caller("problem document", wrong_token=STATUS),
    "curl --fail": Caller("problem document, left out", denied=STATUS, unrecorded=STATUS, wrong_token=NOTHING),
    "wget": Caller("the status line"),
    "skopeo": Caller("nothing that it prints of its first question", denied=STATUS, unrecorded=STATUS, requests=2),
}  # fmt: skip
"""Commands, by the name of the command in test_denials_tools.py."""


def token(bot: str) -> str:
    """The token of an agent."""
    return f"clm_test-token-of-{bot}-0123456789abcdef"


_AGENTS: dict[str, Any] = {
    "version": 1,
    "humans": AGENTS["humans"],
    "agents": [
        {
            "id": bot,
            "anchor": "alice@acme.test",
            "org": "acme",
            "state": "suspended" if bot == "suspended-bot" else "active",
            "skill": skill,
            "tokens": [credential(bot, token(bot)).token_sha256],
        }
        for bot, skill in BOTS.items()
    ],
}
_SKILLS: dict[str, dict[str, Any]] = {
    "reader-v1": {"skill": "reader-v1", "allow": ["health:check"]},
    "waiting-v1": {"skill": "waiting-v1", "approve": ["**"]},
    "writer-v1": {"skill": "writer-v1", "allow": ["**"]},
}
_BOUND = ("kubernetes", "vault", "docker", "mcp", "graphql", "git", "grpc", "registry")
_MAPPINGS = {"version": 1, "bind": [{"host": f"{pack}.test", "pack": pack} for pack in _BOUND]}


@dataclass(frozen=True, slots=True)
class Gates:
    """A gate that refuses by its rules, and one that can write nothing down."""

    sound: LiveGate
    full: LiveGate
    environments: Mapping[str, dict[str, str]]
    """What a tool is given in each case, over a nearly empty environment."""

    def count(self, case: str) -> int:
        """How many requests of a case were refused so far."""
        if case != "unrecorded":
            return len(self.records(case))
        found = re.search(rb'claiim_outcomes_total\{result="blocked"\} (\d+)', self.full.service.gate.metrics.text())
        return int(found[1]) if found else 0

    def shown(self, said: str, case: str, before: int) -> str:
        """What stands in what a tool has printed of one of the refusals since `before` were counted."""
        told = self.records(case)[before:]
        if any(each["reason"] in said and each["id"] in said for each in told):
            return REASON
        if case == "unrecorded" and UNRECORDED in said:
            return REASON
        status = {"unrecorded": 503, "wrong token": 407}.get(case, 403)
        return STATUS if re.search(rf"\b{status}\b", said) else NOTHING

    def records(self, case: str) -> list[dict[str, Any]]:
        """The refusals of a case, oldest first."""
        bot, right = CASES[case]
        return [each for each in self.sound.records(agent=bot) if (each["code"] != "agent.wrong-token") == right]


@contextmanager
def two_gates(folder: Path) -> Iterator[Gates]:
    """Run both; at the end every decision has its outcome."""
    with _gate(folder / "sound") as sound, _gate(folder / "full") as full:
        storage = full.service._chron._writer._storage
        storage._low_water_bytes, storage._looked_s = 2**62, 0.0
        bundle = folder / "bundle.pem"
        write_bundle(bundle, sound.service.ca_pem + full.service.ca_pem)
        yield Gates(sound, full, {case: _environment(sound, full, bundle, case) for case in CASES})
        ended = [each["ref"] for each in sound.records("outcome")]
    assert sorted(each["id"] for each in sound.records()) == sorted(ended)


def _environment(sound: LiveGate, full: LiveGate, bundle: Path, case: str) -> dict[str, str]:
    bot, right = CASES[case]
    gate = full if case == "unrecorded" else sound
    wired = gate.environment(bot, token(bot) if right else "clm_wrong")
    fresh = {name: value for name, value in wired.items() if os.environ.get(name) != value}
    # Libraries read the file once: one bundle for both gates, so that a process can go from one to the other.
    own = str(gate.folder / "wiring" / bundle.name)
    return {name: str(bundle) if value == own else value for name, value in fresh.items()}


def _gate(folder: Path) -> LiveGate:
    approvals = {"approvals": {"wait_s": 0}}
    live = LiveGate(folder, mappings=_MAPPINGS, skills=_SKILLS, agents=_AGENTS, config=approvals)
    (folder / "wiring").mkdir()
    return live


def table(rows: Mapping[str, Caller]) -> str:
    """The rows as docs/denials.md has them."""
    head = "| caller | what it gets | denied | cannot be recorded | wrong token |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| {name} | {row.idiom} | {row.denied} | {row.unrecorded} | {row.wrong_token} |\n"
        for name, row in rows.items()
    )
