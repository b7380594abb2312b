"""How else a question could be asked so that a guard holds, or does not: when, from where, with which header.

Only what an asker can choose is tried; another target or environment would be another request.

    when {time: ...}     be asked within 09:00-17:00 Europe/Berlin, next at 2026-01-05T08:00:00+00:00
    when {client: ...}   be asked from 10.20.0.0/16
    unless {header: ...} send header x-ticket like "OPS-*"
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from policies.conditions import Condition, Guard, Truth, all_hold
from policies.values import Question

_ELSEWHERE = ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1")
"""Addresses for examples, RFC 5737 and RFC 3849: one of them is outside of any network that a text names."""
_AHEAD = timedelta(days=8)
"""A week and what is left of today: each window of a week begins once in it."""

type Asked = tuple[str, Question]
"""What the asker does, and the question that it makes."""


def asked_so(guard: Guard, question: Question, wanted: Truth) -> Asked | None:
    """Return how to ask so that a guard's answer is YES, or NO; None when an asker cannot make it so."""
    if guard.until is not None and question.at >= guard.until:
        return None
    tried = _holding(guard, question) if wanted is Truth.YES else _not_holding(guard, question)
    return tried if tried and tried[0] and guard.holds(tried[1]) is wanted else None


def _holding(guard: Guard, question: Question) -> Asked | None:
    asked = _each(guard.when, question, Truth.YES)
    if asked is None or all_hold(guard.unless, asked[1]) is Truth.NO or not guard.unless:
        return asked
    other = _one(guard.unless, asked[1], Truth.NO)
    return other and (_joined(asked[0], other[0]), other[1])


def _not_holding(guard: Guard, question: Question) -> Asked | None:
    return _one(guard.when, question, Truth.NO) or (_each(guard.unless, question, Truth.YES) if guard.unless else None)


def _each(conditions: tuple[Condition, ...], question: Question, wanted: Truth) -> Asked | None:
    """Turn all that are not as wanted."""
    words = ""
    for condition in conditions:
        if condition.check(question) is wanted:
            continue
        asked = next(_turned(condition, question, wanted), None)
        if asked is None:
            return None
        words, question = _joined(words, asked[0]), asked[1]
    return words, question


def _one(conditions: tuple[Condition, ...], question: Question, wanted: Truth) -> Asked | None:
    """Turn the first that can be turned."""
    return next((asked for each in conditions for asked in _turned(each, question, wanted)), None)


def _joined(first: str, second: str) -> str:
    return f"{first} and {second}" if first else second


def _turned(condition: Condition, question: Question, wanted: Truth) -> Iterator[Asked]:
    """Yield questions of which one condition is as wanted."""
    ways: dict[str, Callable[[Condition, Question, bool], Iterator[Asked]]] = {"time": _at, "client": _from}
    way = _with if condition.name.startswith("header.") else ways.get(condition.name)
    if way is not None:
        met = wanted is Truth.YES
        yield from (asked for asked in way(condition, question, met) if condition.check(asked[1]) is wanted)


def _at(condition: Condition, question: Question, met: bool) -> Iterator[Asked]:
    at = question.at.replace(second=0, microsecond=0)
    for _ in range(int(_AHEAD.total_seconds()) // 60):
        at += timedelta(minutes=1)
        where = "within" if met else "outside"
        yield f"be asked {where} {condition.wanted}, next at {at.isoformat()}", replace(question, at=at)


def _from(condition: Condition, question: Question, met: bool) -> Iterator[Asked]:
    networks = [ipaddress.ip_network(text) for text in condition.wanted.split(", ")]
    tried = [str(network.network_address) for network in networks] if met else list(_ELSEWHERE)
    where = "from" if met else "from outside"
    for client in tried:
        yield f"be asked {where} {condition.wanted}", replace(question, client=client)


def _with(condition: Condition, question: Question, met: bool) -> Iterator[Asked]:
    name = condition.name.removeprefix("header.")
    for text in condition.wanted.split(", ") if met else [""]:
        sent = (text.replace("*", "") or "1") if met else ""
        words = f'send header {name} like "{text}"' if met else f"send no header {name}"
        yield words, replace(question, attributes={**question.attributes, condition.name: sent})
