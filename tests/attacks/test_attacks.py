"""Every attack of the table, over real sockets: the plain form's decision, or a refusal."""

from typing import Any

import pytest

from proxy.attack import ATTACKS, SOURCES, UNSEEN
from proxy.attack.attacks import DESTROY, H2_HOST, PROVIDERS, TUNNEL, Attack, Way
from proxy.attack.judging import compare
from proxy.attack.unread import passing

CATALOGUE = {f"B{number:02}" for number in {*range(1, 62)} - {20, 22, 26, 52}}
"""Four numbers were never given."""


@pytest.mark.parametrize("attack_id", SOURCES)
def test_an_attack_is_caught(attacked: Any, attack_id: str) -> None:
    """In every variant the target sees the canonical form or nothing, and answer and record say the same."""
    shots = [attacked.attacker.shoot(attack) for attack in ATTACKS if attack.id == attack_id]
    records = attacked.records()
    missed = {shot.attack.name: compare(shot, records).fault for shot in shots if not compare(shot, records).caught}
    assert missed == {}


def test_http2_goes_on_as_http2_where_the_target_speaks_it(attacked: Any) -> None:
    """Else the rows for that would prove nothing about it."""
    (row,) = [attack for attack in ATTACKS if attack.title == "B60 h2, record ids, to h2"]
    assert [each.http2 for each in attacked.attacker.shoot(row).arrived] == [True]
    assert sum(attack.plain.host == H2_HOST for attack in ATTACKS) > 15


def test_what_passes_unread_arrives_with_the_right_name(attacked: Any) -> None:
    """Else the rows for a wrong one would prove nothing about it; and what is refused is on record, with its reason."""
    way = Way(connect=f"{TUNNEL}:443", sni=None, tls=False)
    control = Attack("control", "", DESTROY, passing(), way, follows=False)
    assert [each.fault for each in attacked.attacker.shoot(control).arrived] == ["no request line"]
    before = attacked.records().keys()
    (row,) = [attack for attack in ATTACKS if attack.title == "B04 ECH beside our name, in a tunnel that passes unread"]
    assert attacked.attacker.shoot(row).arrived == ()
    (refused,) = [
        record for name, record in attacked.records().items() if name not in before and record["outcome"] == "DENY"
    ]
    assert (refused["code"], refused["host"]) == ("wire.tunnel", TUNNEL)
    assert "ECH" in refused["reason"]


def test_plain_forms_are_decided_as_the_rules_say(attacked: Any) -> None:
    """A suite in front of a gate that denies everything would catch everything, and prove nothing."""
    plains = {attack.plain for attack in ATTACKS}
    wrong = {plain for plain in plains if attacked.attacker.allows(plain) is not plain.allowed}
    assert wrong == set()
    assert sum(plain.allowed for plain in plains) >= 10


def test_every_attack_of_the_catalogue_has_variants_or_a_reason() -> None:
    """Two rows at least, with a public source; or what no request can try, and why."""
    rows = {attack_id: sum(attack.id == attack_id for attack in ATTACKS) for attack_id in SOURCES}
    assert {attack_id for attack_id, count in rows.items() if count < 2} == set()
    assert rows.keys() | UNSEEN.keys() == CATALOGUE
    assert not rows.keys() & UNSEEN.keys()
    assert all(reason for reason in (*SOURCES.values(), *UNSEEN.values()))


def test_rows_are_named_once() -> None:
    """A report names a row by its title."""
    titles = [attack.title for attack in ATTACKS]
    assert sorted({title for title in titles if titles.count(title) > 1}) == []


def test_what_a_running_gate_is_asked_is_never_a_real_name() -> None:
    """Providers' names are attacked through a gate of our own only, whose table leads to the target."""
    running = [attack for attack in ATTACKS if not attack.elsewhere]
    assert not {attack.plain.host for attack in running} & PROVIDERS
    assert len(running) > 300
