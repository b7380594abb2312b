"""Which patterns something can come for, and what a misspelt one was meant to be."""

import pytest

from policies.knownactions import KnownActions

LISTED = {"github": frozenset({"github:pulls/merge", "github:repos/delete"}), "kubernetes": None}
KNOWN = KnownActions(("deploy:*", "infra:destroy", "pr:merge"), frozenset(LISTED), LISTED.__getitem__)


@pytest.mark.parametrize(
    ("pattern", "fits", "near"),
    [
        ("deploy:anything", True, ""),
        ("deploy:*", True, ""),
        ("**", True, ""),
        ("*:destroy", True, ""),
        ("*:delete", True, ""),
        ("*:pulls/mer*", True, ""),
        ("github:pulls/*", True, ""),
        ("github:issues/*", False, ""),
        ("github:pulls/merg", False, "github:pulls/merge"),
        ("kubernetes:delete:apps/deployments", True, ""),
        ("infra:destory", False, "infra:destroy"),
        ("deploi:staging", False, "deploy:staging"),
        ("deploy", False, "deploy:*"),
        ("billing:refund", False, ""),
        ("http:unbound", True, ""),
        ("github:unrecognised", True, ""),
    ],
)
def test_fits_and_near(pattern: str, fits: bool, near: str) -> None:
    """A word of a rule, a listed operation, anything of a pack without a list; else the nearest of them."""
    assert KNOWN.fits(pattern) is fits
    assert fits or KNOWN.near(pattern) == near


def test_a_catalogue_is_opened_only_for_its_family() -> None:
    """A pattern of words alone opens none: checking stays quick."""
    opened: list[str] = []

    def operations(family: str) -> None:
        opened.append(family)

    known = KnownActions(("deploy:*",), frozenset({"aws", "google"}), operations)
    assert known.fits("deploy:staging")
    assert not known.fits("billing:refund")
    assert opened == []
    assert known.fits("aws:ec2:terminateinstances")
    assert opened == ["aws"]
