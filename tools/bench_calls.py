"""What a mapping and a decision cost, called directly; part of `make bench`."""

import timeit
from datetime import UTC, datetime
from pathlib import Path

from mappings import Request, canonical_target, load_mappings
from policies import Question, credential, load_policies

_SITE = """\
version: 1
bind:
  - {host: api.k8s.test, pack: kubernetes, facts: {cluster: prod}}
env:
  - {value: production, when: {namespace: [production]}}
  - {value: staging, when: {namespace: [staging]}}
"""


def _request(method: str, host: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Request:
    canonical = canonical_target(target)
    fields = tuple((headers or {}).items())
    return Request(method, "https", host, 443, canonical.path, canonical.query, fields, body)


def mapping_costs_us() -> dict[str, float]:
    """Microseconds per `Mappings.resolve`, by kind of request."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site.yaml"
        site.write_text(_SITE)
        mappings = load_mappings([site])
    aws = {
        "content-type": "application/x-www-form-urlencoded",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAQNZGKIQY56JQ7WML/20261122/eu-west-1/ec2/aws4_request",
    }
    deployment = "/apis/apps/v1/namespaces/production/deployments/web"
    requests = {
        "kubernetes, patch deployment": _request("PATCH", "api.k8s.test", deployment),
        "github, merge": _request("PUT", "api.github.com", "/repos/acme/web/pulls/7/merge"),
        "aws, terminate instances": _request(
            "POST", "ec2.eu-west-1.amazonaws.com", "/", aws, b"Action=TerminateInstances&InstanceId.1=i-1&Version=1"
        ),
        "unknown host": _request("GET", "unknown.test", "/x"),
    }
    return {name: _cost_us(lambda request=request: mappings.resolve(request)) for name, request in requests.items()}


def decisions_per_s() -> dict[str, float]:
    """`Policies.decide` per second on 60 wildcard rules: the same question again, and 2,000 mixed ones."""
    allow = "".join(f"- svc{n}:*:read:**\n" for n in range(40))
    deny = "".join(f"- svc{n}:*:delete:**\n" for n in range(20))
    folder = Path(__import__("tempfile").mkdtemp())
    (folder / "skill.yaml").write_text(f"skill: wide\nallow:\n{allow}deny:\n{deny}")
    who = credential("bench", "clm_token")
    (folder / "agents.yaml").write_text(
        "version: 1\nhumans:\n- {id: alice, name: Alice, org: acme, state: active}\nagents:\n"
        f"- {{id: bench, anchor: alice, org: acme, state: active, skill: wide, tokens: ['{who.token_sha256}']}}\n"
    )
    policies = load_policies(folder / "agents.yaml", [folder / "skill.yaml"])
    now = datetime.now(UTC)
    verbs = ("read", "delete", "write")
    actions = [f"svc{n % 50}:thing{n}:{verbs[n % 3]}:production" for n in range(2000)]
    questions = [Question(who, action, "target", "production", now, "127.0.0.1") for action in actions]
    once = 1e6 / _cost_us(lambda: policies.decide(questions[0]))

    def mixed() -> None:
        for question in questions:
            policies.decide(question)

    return {"one question again": once, "2,000 mixed questions": 1e6 * len(questions) / _cost_us(mixed)}


def _cost_us(call: object) -> float:
    timer = timeit.Timer(call)  # type: ignore[arg-type]
    number, _ = timer.autorange()
    return min(timer.repeat(3, number)) / number * 1e6
