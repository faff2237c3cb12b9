"""What the contract has and this version does not do yet: refused, never ignored."""

from __future__ import annotations

from google.protobuf.message import Message

from sandbox_service.domain.errors import NotImplementedYetError


def refuse_fields(message: Message, *fields: str) -> None:
    """Refuse a message that sets a field which this version does not serve.

    Raises:
        NotImplementedYetError: Names the field.
    """
    for name in fields:
        field = message.DESCRIPTOR.fields_by_name[name]
        value = getattr(message, name)
        is_set = message.HasField(name) if field.has_presence else bool(value)
        if is_set:
            raise unserved(name)


def unserved(field: str) -> NotImplementedYetError:
    """Return the error for a field, or a field's value, that is not served yet."""
    return NotImplementedYetError(
        f"This version does not serve {field!r}. Leave it unset; GetCapabilities tells what works.",
        metadata={"field": field},
    )
