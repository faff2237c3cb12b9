"""The contract's enums and the domain's: every name has its other half."""

from __future__ import annotations

import enum

import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.contract import enums
from sandbox_service.domain.execs import Cause, Fault
from sandbox_service.domain.sandboxes import (
    EndCause,
    Health,
    PreviewAccess,
    PreviewState,
    SandboxState,
)

_CONVERSIONS = [
    (Cause, lambda it: enums.cause(it.value), pb.Cause),
    (Fault, lambda it: enums.fault(it.value), pb.Fault),
    (SandboxState, enums.sandbox_state, pb.SandboxState),
    (EndCause, enums.end_cause, pb.EndCause),
    (EndCause, enums.end_fault, pb.Fault),
    (Health, enums.health, pb.Health),
    (PreviewAccess, enums.preview_access, pb.PreviewAccess),
    (PreviewState, enums.preview_state, pb.PreviewState),
]

_VALUES = [(value, convert, wrapper) for kind, convert, wrapper in _CONVERSIONS for value in kind]


@pytest.mark.parametrize(
    ("value", "convert", "wrapper"),
    _VALUES,
    ids=[
        f"{type(value).__name__}.{value.name}-{wrapper.DESCRIPTOR.name}"
        for value, _, wrapper in _VALUES
    ],
)
def test_every_value_of_the_domain_has_a_name_in_the_contract(value, convert, wrapper):
    """A value without one would fail the call that first tells it."""
    assert convert(value) in wrapper.DESCRIPTOR.values_by_name


@pytest.mark.parametrize(
    ("kind", "convert"),
    [
        (Cause, lambda it: enums.cause(it.value)),
        (SandboxState, enums.sandbox_state),
        (EndCause, enums.end_cause),
        (PreviewAccess, enums.preview_access),
    ],
    ids=["Cause", "SandboxState", "EndCause", "PreviewAccess"],
)
def test_no_two_values_become_the_same(kind: type[enum.Enum], convert):
    """A caller that branches must be able to tell them apart; none of them is UNSPECIFIED."""
    names = [convert(value) for value in kind]

    assert len(set(names)) == len(names)
    assert not [name for name in names if name.endswith("_UNSPECIFIED")]


def test_nobodys_fault_is_unspecified_and_everybody_elses_is_named():
    """UNSPECIFIED says that nothing went wrong."""
    assert enums.fault(Fault.NONE.value) == "FAULT_UNSPECIFIED"
    assert [f for f in Fault if enums.fault(f.value) == "FAULT_UNSPECIFIED"] == [Fault.NONE]


@pytest.mark.parametrize("state", SandboxState)
def test_a_number_of_the_contract_becomes_the_domains_value(state: SandboxState):
    """There and back."""
    number = pb.SandboxState.Value(enums.sandbox_state(state))

    assert enums.known(number, pb.SandboxState, "SANDBOX_STATE_", SandboxState) is state


@pytest.mark.parametrize("number", [0, pb.SANDBOX_STATE_PAUSING])
def test_what_the_domain_does_not_know_is_none(number: int):
    """UNSPECIFIED, and values of the contract that this version does not have yet."""
    assert enums.known(number, pb.SandboxState, "SANDBOX_STATE_", SandboxState) is None
