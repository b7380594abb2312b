"""Requests that tests of policies write down, made into the questions that the gate would ask about them.

Nothing is sent anywhere; what the gate would refuse to read or could not name is refused here with the same code.

    {method: PUT, url: "https://api.github.com/repos/acme/web/pulls/1/merge"}     pr:merge
    {method: GET, url: "https://nobody.test/"}                                    mapping.unmapped
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from mappings import Mappings
from policies import Policies, Question
from policies.testcases import Refused
from policies.testschema import RequestEntry
from proxy.facts import FactsError, read_facts
from proxy.offline import as_judged, on_paper
from proxy.questions import wire_question


class Paper:
    """Names requests by the mappings, which are loaded when the first request comes."""

    def __init__(self, load: Callable[[], Mappings], max_body_bytes: int) -> None:
        self._load = load
        self._max_body_bytes = max_body_bytes
        self._mappings: Mappings | None = None

    def questions(self, entry: RequestEntry, question: Question, policies: Policies) -> Sequence[Question] | Refused:
        """Return the questions of a request, each like `question`, or the code and reason of its refusal."""
        if self._mappings is None:
            self._mappings = self._load()
        body = entry.body.encode()
        inbound, _ = on_paper(entry.method, entry.url, list(entry.headers.items()), body)
        try:
            facts = read_facts(inbound, None)
            request = as_judged(inbound, body, self._mappings, self._max_body_bytes)
        except FactsError as error:
            return error.code, f"{error.code.partition('.')[0]} -- {error.message}"
        resolution = self._mappings.resolve(request)
        if resolution.problem:
            return resolution.problem.code, f"mapping -- {resolution.problem.message}"
        if not resolution.operations:
            return "mapping.unmapped", "mapping -- no rule names this request"
        facts, who = replace(facts, request=request), question.credential
        asked = [
            wire_question(who, operation, facts, question.at, question.client, policies, {}, resolution.methods)
            for operation in resolution.operations
        ]
        return [replace(each, approvers=question.approvers, exceptions=question.exceptions) for each in asked]
