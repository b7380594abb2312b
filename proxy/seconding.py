"""Puts what our own texts let go on to the external PDP, and makes of its word what is left of it.

It never turns a denial into a permission: what is refused already is not asked about, and a word that is no plain yes
makes a refusal that no mode lets pass.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mappings import Operation
from policies import Mode, Outcome
from proxy.pdp import Pdp, Said, Word, evaluation
from proxy.verdicts import Decided, Judgement


async def seconded(pdp: Pdp, decided: Decided, at: datetime) -> Decided:
    """A request as it is decided once the PDP was asked about all of it; it is not asked when a part is refused."""
    if decided.forwards is False:
        return decided
    resolution, judgements = decided.resolution, decided.judgements
    operations: Sequence[Operation | None] = resolution.operations or (None,)
    asked = [
        evaluation(each.decision, each.question, operation.action if operation else resolution.unnamed, at)
        for operation, each in zip(operations, judgements, strict=True)
    ]
    words = await pdp.ask(asked)
    return replace(decided, judgements=[_with_word(*each) for each in zip(judgements, words, strict=True)])


async def seconded_each(pdp: Pdp | None, judged: list[Judgement], at: datetime) -> list[Judgement]:
    """The same of questions that stand each for itself."""
    going = [index for index, each in enumerate(judged) if each.decision.forwards is not False]
    if pdp is None or not going:
        return judged
    asked = [evaluation(judged[index].decision, judged[index].question, "", at) for index in going]
    judged = list(judged)
    for index, word in zip(going, await pdp.ask(asked), strict=True):
        judged[index] = _with_word(judged[index], word)
    return judged


def _with_word(each: Judgement, word: Word) -> Judgement:
    """The judgement, if the PDP allows it too, else the refusal that its word is, which no mode lets pass."""
    if word.said is Said.ALLOW:
        return replace(each, pdp=word.said.value)
    refused = replace(
        each.decision,
        outcome=Outcome.DENY,
        mode=Mode.ENFORCE,
        stage="pdp",
        code="pdp.denied" if word.said is Said.DENY else "pdp.unavailable",
        reason=f"pdp -- {word.reason}",
        rule="",
        pattern="",
        policy=None,
        holds=(),
        limits=(),
        exception="",
    )
    # Without its question: no text of ours would give this answer again.
    return Judgement(refused, pdp=word.said.value)
