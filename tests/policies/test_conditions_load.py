"""Conditions as they stand in a text: one text or a list of them means the same."""

import pytest


@pytest.mark.parametrize("key", ["target", "environment", "method", "host", "access", "client"])
def test_one_text_or_a_list_of_them(build, ask, key: str) -> None:
    """A condition with one alternative may be written without brackets, and loads either way."""
    word = {"access": "read", "client": "127.0.0.0/8"}.get(key, "api-*")
    for written in (f'"{word}"', f'["{word}"]'):
        text = f'skill: deploy-v2\nallow:\n- {{action: "deploy:staging", when: {{{key}: {written}}}}}\n'
        decision = build(text).decide(ask("deploy:staging"))
        expected = "ALLOW" if key in ("target", "client") else "DENY"
        assert decision.outcome.value == expected, (written, decision)
