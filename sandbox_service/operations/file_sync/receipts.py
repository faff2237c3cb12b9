"""The receipts of syncs that carried an id, so that a retry is answered and not repeated."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sandbox_service.domain.files import SyncReceipt

RECEIPTS_MAX: Final = 4096
RECEIPT_PATHS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ReceiptKey:
    """Which sync, of which incarnation of which sandbox."""

    sandbox_id: str
    generation: int
    sync_id: str


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt, with what its request was.

    Attributes:
        header_digest: Of the header.
        manifest_digest: Of every entry.
    """

    header_digest: bytes
    manifest_digest: bytes
    receipt: SyncReceipt


class Receipts:
    """The newest receipts. The oldest give way, by number and by the paths they name."""

    def __init__(self) -> None:
        self._stored: OrderedDict[ReceiptKey, StoredReceipt] = OrderedDict()
        self._paths = 0

    def get(self, key: ReceiptKey) -> StoredReceipt | None:
        """Return a receipt. None: there is none, or none any more."""
        return self._stored.get(key)

    def put(self, key: ReceiptKey, stored: StoredReceipt) -> None:
        """Keep a receipt, and drop the oldest ones that no longer fit."""
        self._stored[key] = stored
        self._paths += _paths(stored.receipt)
        while len(self._stored) > 1 and (
            len(self._stored) > RECEIPTS_MAX or self._paths > RECEIPT_PATHS_MAX
        ):
            _, dropped = self._stored.popitem(last=False)
            self._paths -= _paths(dropped.receipt)


def _paths(receipt: SyncReceipt) -> int:
    return len(receipt.added) + len(receipt.modified) + len(receipt.deleted)
