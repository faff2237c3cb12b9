"""Why calls fail: what the contract says of each reason, and at which calls."""

from __future__ import annotations

import json
import re

import grpc
import pytest
from miosa.sandbox import v1 as pb

from tests.unit.contract.descriptors import (
    METHOD_IDS,
    METHODS,
    OUR_FILES,
    comments,
    method_comments,
    reasons,
)


@pytest.mark.parametrize(("reason", "comment"), reasons().items(), ids=list(reasons()))
def test_every_reason_says_its_code_what_to_do_and_an_example(reason, comment):
    """A program branches on the reason; whoever writes it needs these three."""
    text = " ".join(comment.split())
    code = re.match(r"`([A-Z_]+)`\. [A-Z]", text)
    example = re.search(r"Example: `(\{.*\})`$", text)

    assert code
    assert code[1] in {status.name for status in grpc.StatusCode} - {"OK"}
    assert re.search(r" The caller [a-z]", text)
    assert example
    info = json.loads(example[1])
    assert (info["reason"], info["domain"]) == (reason, "sandbox.miosa.dev")
    assert all(isinstance(value, str) for value in info["metadata"].values())
    assert info["metadata"]


def _named_reasons(comment: str) -> list[str]:
    """The reasons that a comment's bullets name."""
    text = re.sub(r"\n\s+(?!\*)", " ", comment)
    heads = [line.split(": ")[0] for line in text.splitlines() if line.strip().startswith("* `")]
    return [name for head in heads for name in re.findall(r"`([A-Z_]+)`", head)]


def _common_reasons() -> list[str]:
    (file,) = [file for file in OUR_FILES if file.name.endswith("/sandbox_service.proto")]
    return _named_reasons(comments(file)[(6, 0)])


@pytest.mark.parametrize(("method", "comment"), method_comments().items())
def test_every_rpc_says_whether_to_retry_and_which_reasons_it_has(method, comment):
    """What a caller does about a failure stands at the call."""
    named = _named_reasons(comment)

    assert "Retry: " in comment
    assert ("Reasons:" in comment) == bool(named)
    assert [name for name in named if name not in reasons()] == []
    assert len(named) == len(set(named))
    assert set(named).isdisjoint(_common_reasons())
    has_sandbox = "sandbox_id" in dict(
        next(
            m for m, i in zip(METHODS, METHOD_IDS, strict=True) if i == method
        ).input_type.fields_by_name
    )
    if has_sandbox and method not in {"SandboxService.List", "ArtifactService.ListArchives"}:
        assert "SANDBOX_NOT_FOUND" in named


def test_every_reason_is_answered_by_some_rpc():
    """There is no reason that nobody can meet."""
    named = {name for comment in method_comments().values() for name in _named_reasons(comment)}

    assert named | set(_common_reasons()) == set(reasons())


def test_reasons_are_numbered_without_holes():
    """A number that was given away once is never used again: a hole is to be `reserved`."""
    numbers = [value.number for value in pb.ErrorReason.DESCRIPTOR.values]

    assert numbers == list(range(len(numbers)))
