"""Lists in conditions, as people write them in YAML."""

from collections.abc import Callable

import pytest

from policies import Policies, PolicyError


@pytest.mark.parametrize(
    "condition",
    [
        "environment: [production, staging]",
        "environment: production",
        'client: ["10.0.0.0/8"]',
        "access: [read, list]",
        'target: ["github/acme/*"]',
        'header: {x-ticket: ["OPS-*"]}',
    ],
)
def test_a_condition_takes_one_text_or_a_list(build: Callable[..., Policies], condition: str) -> None:
    """What may be one text or several loads either way."""
    skill = f"skill: deploy-v2\nallow:\n- {{action: deploy:staging, when: {{{condition}}}}}\n"
    (_, rule) = build(skill).standings["deploy-bot"].rules.skill.allow.rules[0]  # type: ignore[union-attr]
    assert len(rule.guard.when) == 1


def test_what_is_neither_text_nor_list_is_a_fault(build: Callable[..., Policies]) -> None:
    """A number in the place of a list is refused with its place."""
    with pytest.raises(PolicyError, match=r"policies/deploy-v2\.yaml:3:\d+: expected a list"):
        build("skill: deploy-v2\nallow:\n- {action: deploy:staging, when: {environment: 7}}\n")
