"""What a human asks the gate for and cannot have."""

from typing import ClassVar, Literal


class Refused(Exception):
    """What was asked for cannot be; `status` and `code` as the control API answers, the message for people."""

    desk: ClassVar[str]
    """What the code begins with."""

    def __init__(self, status: Literal[403, 404, 409, 422], code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = f"{self.desk}.{code}"
