"""What is said to whoever asks for a tunnel."""

from __future__ import annotations

from typing import Final

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""There is one from here on."""


def refusal(status: str, message: str) -> bytes:
    """Say that there is none, as the last thing on a connection.

    Args:
        status: Number and phrase: `403 Forbidden`.
        message: One line for people, without its end.
    """
    body = f"{message}\n".encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
