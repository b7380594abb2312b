"""What a kept mapping text bears out of a record, and what it does not."""

import hashlib
import re

import pytest

from mappings import PackError, Request, compile_mappings, read_document
from mappings.attesting import KeptRules
from mappings.inventory import written_rules
from mappings.shipped import ShippedFile, shipped_files

SITE = """\
version: 1
bind:
- {host: api.test, pack: http, facts: {env: production}}
rules:
- {id: deploy, match: {host: api.test, path: "/{stage}/deploy"}, action: "Deploy:${stage}"}
- {id: read, match: {host: api.test, path: "/{stage}/{what+}"}, action: data:read}
"""
SITE_DIGEST = hashlib.sha256(SITE.encode()).hexdigest()
PLACE = "mappings/site.yaml:5:3"


def test_what_the_mappings_named_is_borne_out() -> None:
    """The rule of an operation is found in its text by what the record says of it, and can give its name."""
    mappings = compile_mappings([read_document(SITE, "mappings/site.yaml", error=PackError)], [])
    kept = KeptRules(SITE, SITE_DIGEST)
    for path in ("/blue/deploy", "/blue/x"):
        request = Request("GET", "https", "api.test", 443, path, (), (), b"")
        (operation,) = mappings.resolve(request).operations
        rule = operation.rule
        assert rule is not None
        assert rule.digest == SITE_DIGEST
        assert kept.fault(rule.id, rule.pack, rule.place, operation.action) == ""


NOT_SO = {
    "another rule": (("gone", "", PLACE, "deploy:blue"), 'the text has no rule "gone" at 5:3'),
    "another place": (("deploy", "", "mappings/site.yaml:6:3", "deploy:blue"), 'the text has no rule "deploy" at 6:3'),
    "no place": (("deploy", "", "", "deploy:blue"), 'the text has no rule "deploy" at '),
    "another pack": (("deploy", "github", PLACE, "deploy:blue"), 'the text has no rule "deploy" at 5:3'),
    "another action": (
        ("deploy", "", PLACE, "infra:destroy"),
        'the rule says "Deploy:${stage}", which is never "infra:destroy"',
    ),
    "a segment more": (
        ("deploy", "", PLACE, "deploy:blue:green"),
        'the rule says "Deploy:${stage}", which is never "deploy:blue:green"',
    ),
    "a segment less": (("deploy", "", PLACE, "deploy"), 'the rule says "Deploy:${stage}", which is never "deploy"'),
}


@pytest.mark.parametrize(("said", "fault"), NOT_SO.values(), ids=NOT_SO)
def test_what_the_text_does_not_say(said: tuple[str, str, str, str], fault: str) -> None:
    """A value fills one segment, never more; rule, place and pack are all compared."""
    assert KeptRules(SITE, SITE_DIGEST).fault(*said) == fault


def test_another_text_is_not_taken() -> None:
    """A text that has not the digest that the record names attests nothing."""
    with pytest.raises(PackError, match="has another digest"):
        KeptRules(SITE.replace("data:read", "data:write"), SITE_DIGEST)


@pytest.mark.parametrize("file", shipped_files(), ids=lambda file: file.name)
def test_the_rules_of_every_shipped_text_are_found(file: ShippedFile) -> None:
    """Each rule that came with the gate is found in its kept text by its id, pack and place."""
    kept = KeptRules(file.unread.text, file.unread.digest)
    for rule in written_rules(file.document):
        action = re.sub(r"\$\{[^}]*\}", "x", rule.action).lower()
        assert kept.fault(rule.id, file.name, rule.place, action) == ""
