"""The rules that stand in the protos, checked on every request."""

from __future__ import annotations

from typing import Final

import protovalidate
from google.protobuf.message import Message

from sandbox_service.domain.errors import FieldViolation, InvalidRequestError

_SHOWN: Final = 16


class Validator:
    """Checks messages against their protovalidate rules."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def check(self, message: Message) -> None:
        """Refuse a message that breaks a rule.

        Raises:
            InvalidRequestError: With the path of every field and rule broken.
        """
        try:
            self._validator.validate(message)
        except protovalidate.ValidationError as error:
            violations = [_violation(it) for it in error.violations[:_SHOWN]]
            first = violations[0]
            raise InvalidRequestError(
                "; ".join(f"{it.field or 'request'}: {it.description}" for it in violations[:3]),
                violations,
                metadata={"field": first.field, "rule": first.rule},
            ) from None


def _violation(violation: protovalidate.Violation) -> FieldViolation:
    path = []
    for element in violation.proto.field.elements if violation.proto.field else ():
        subscript = element.subscript
        if subscript is None:
            path.append(element.field_name)
        elif subscript.field == "index":
            path.append(f"{element.field_name}[{subscript.value}]")
        else:
            path.append(f'{element.field_name}["{subscript.value}"]')
    rule_id = violation.proto.rule_id
    if violation.proto.rule is None and "." in rule_id:
        # A rule about several fields of a message is named after the one to mend.
        path.append(rule_id.partition(".")[0])
    # A value may be a secret: what is told is the rule, never the value.
    return FieldViolation(".".join(path), violation.proto.message or "breaks a rule", rule_id)
