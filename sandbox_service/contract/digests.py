"""What a caller sent, field by field, without keeping it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from google.protobuf.message import Message


def request_digests(message: Message, *, without: Iterable[str] = ()) -> dict[str, str]:
    """Return the SHA-256 of each field that the caller sent, by name.

    Two requests are the same when these are: what was left to defaults is in
    neither. Values may be secrets, so only digests are kept.
    """
    digests = {}
    for field, _ in message.ListFields():
        if field.name in without:
            continue
        alone = type(message)()
        alone.MergeFrom(message)
        for other, _ in message.ListFields():
            if other.name != field.name:
                alone.ClearField(other.name)
        content = alone.SerializeToString(deterministic=True)
        digests[field.name] = hashlib.sha256(content).hexdigest()
    return digests
