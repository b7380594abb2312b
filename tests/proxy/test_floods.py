"""What is counted of refusals that have no record of their own."""

from typing import cast
from unittest.mock import Mock

import pytest

from proxy.floods import Floods
from proxy.questions import FieldValues


@pytest.mark.parametrize("code", [None, object()])
def test_what_is_no_code_keeps_no_others_from_being_told(code: object) -> None:
    """It is not counted, and whoever brings it hears of it: a stop would end over it, and the others would be lost."""
    told: list[FieldValues] = []
    floods = Floods(told.append, 0, clock=lambda: 0.0, later=Mock())
    floods.count("agent:deploy-bot", "limit.idle")
    with pytest.raises(TypeError, match="without a code"):
        floods.count("agent:deploy-bot", cast(str, code))
    floods.flush()
    assert [(each["refusals"], each["codes"]) for each in told] == [(1, '{"limit.idle": 1}')]
