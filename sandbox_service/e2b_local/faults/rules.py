"""What goes wrong, for which requests, and how often: rules, read from JSON and checked."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)

from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.faults.errors import RulesError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

_FIX: Final = (
    'Write a list such as [{"kind": "status", "match": {"plane": "envd"},'
    ' "params": {"status": 503}, "times": 1}].'
)


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        problem = f"is no regular expression: {error}"
        raise ValueError(problem) from None
    return pattern


def _known_status(status: int) -> int:
    if status not in set(HTTPStatus):
        problem = "is no HTTP status"
        raise ValueError(problem)
    return status


_Id: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_Bytes: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]
_Seconds: TypeAlias = Annotated[float, Field(ge=0, le=24 * 3600)]
_Method: TypeAlias = Annotated[str, Field(pattern=r"^[A-Z]{1,16}$")]
_Pattern: TypeAlias = Annotated[str, Field(max_length=1000), AfterValidator(_compilable)]
_Status: TypeAlias = Annotated[int, Field(ge=400, le=599), AfterValidator(_known_status)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Match(_Model):
    """Which requests a rule is about; what is not given does not matter.

    Attributes:
        methods: Upper-case methods.
        path: Regular expression, found anywhere in the decoded path.
        sandbox_id: The sandbox it is for.
        port: The sandbox's port it is for.
        plane: `control` for the API, `envd` for what runs programs and moves
            files in a sandbox, `port` for what a program in it serves.
    """

    methods: tuple[_Method, ...] | None = None
    path: _Pattern | None = None
    sandbox_id: str | None = None
    port: Annotated[int, Field(ge=1, le=0xFFFF)] | None = None
    plane: Literal["control", "envd", "port"] | None = None


class NoParams(_Model):
    """Nothing to say."""


class CutParams(_Model):
    """When a connection is cut.

    Attributes:
        after_bytes: Bytes of the response that still go out, its head and
            framing included. 0: it is carried out, but nobody hears of it.
    """

    after_bytes: _Bytes = 0


class StallParams(_Model):
    """When a response stops flowing, and for how long.

    Attributes:
        after_bytes: Bytes that go out before, the response's head included.
        seconds: Until it flows again.
    """

    after_bytes: _Bytes = 0
    seconds: _Seconds


class DelayParams(_Model):
    """How long a request waits before it is looked at.

    Attributes:
        seconds: At least.
        jitter_seconds: Up to so much more, evenly spread.
    """

    seconds: _Seconds
    jitter_seconds: _Seconds = 0.0


class StatusParams(_Model):
    """What a request is answered, instead of being carried out.

    Attributes:
        status: HTTP status of an error.
        message: What the answer says; the status's own phrase if not given.
        retry_after_seconds: For `Retry-After`, if given.
        should_retry: For `Should-Retry`, if given; E2B's clients obey it.
        body: A JSON document to answer, instead of code and message.
    """

    status: _Status
    message: Annotated[str, Field(max_length=10_000)] | None = None
    retry_after_seconds: Annotated[int, Field(ge=0, le=24 * 3600)] | None = None
    should_retry: bool | None = None
    body: dict[str, JsonValue] | None = None


class LateParams(_Model):
    """How late a list is.

    Attributes:
        seconds: The age from which a sandbox is listed.
    """

    seconds: _Seconds


class VanishParams(_Model):
    """When a sandbox dies.

    Attributes:
        after_seconds: So long after the request came; 0: before it is looked at.
    """

    after_seconds: _Seconds = 0.0


class UploadParams(_Model):
    """When a sandbox dies that is being written to.

    Attributes:
        after_bytes: Bytes of the upload's body that come before.
    """

    after_bytes: _Bytes = 0


class _Rule(_Model):
    """What every rule has.

    Attributes:
        id: Its name; made up if not given.
        match: Which requests it is about.
        times: How often it happens; for ever if not given.
        probability: Share of the matching requests that it is for.
        seed: Of that choice; made up, and shown, if not given.
    """

    id: _Id | None = None
    match: Match = Match()
    times: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int | None = None


class Drop(_Rule):
    """The connection is cut in the middle of the response."""

    kind: Literal["drop"]
    params: CutParams = CutParams()


class Stall(_Rule):
    """The response stops flowing for a while."""

    kind: Literal["stall"]
    params: StallParams


class Delay(_Rule):
    """The request waits before it is looked at."""

    kind: Literal["delay"]
    params: DelayParams


class Status(_Rule):
    """The request is answered with an error."""

    kind: Literal["status"]
    params: StatusParams


class LateList(_Rule):
    """A list of sandboxes lacks the youngest."""

    kind: Literal["late_list"]
    params: LateParams


class Vanish(_Rule):
    """The sandbox that the request is for dies."""

    kind: Literal["vanish"]
    params: VanishParams = VanishParams()


class KillDuringUpload(_Rule):
    """The sandbox dies while a file is written to it."""

    kind: Literal["kill_during_upload"]
    params: UploadParams = UploadParams()


Rule: TypeAlias = Drop | Stall | Delay | Status | LateList | Vanish | KillDuringUpload

_KINDS: Final = "drop", "stall", "delay", "status", "late_list", "vanish", "kill_during_upload"
_ONE: Final[TypeAdapter[Rule]] = TypeAdapter(Annotated[Rule, Field(discriminator="kind")])
_MANY: Final[TypeAdapter[list[Rule]]] = TypeAdapter(
    Annotated[list[Annotated[Rule, Field(discriminator="kind")]], Field(max_length=1000)]
)


def parse_rules(document: bytes) -> list[Rule]:
    """Read one rule, or a list of them, from JSON.

    Raises:
        RulesError: Something in it is wrong; nothing of it is taken.
    """
    try:
        if document.lstrip().startswith(b"["):
            return _MANY.validate_json(document)
        return [_ONE.validate_json(document)]
    except ValidationError as error:
        raise RulesError(dict(map(_problem, error.errors(include_url=False)))) from None


def load_rules(path: Path) -> list[Rule]:
    """Read rules from a JSON file.

    Raises:
        ConfigError: The file cannot be read, or holds no rules.
    """
    try:
        return parse_rules(path.read_bytes())
    except OSError as error:
        cause = f"Cannot read the faults file {path}: {error.strerror}."
        raise ConfigError(cause, _FIX) from None
    except RulesError as error:
        raise ConfigError(f"The faults file {path} holds no rules: {error}.", _FIX) from None


def _problem(found: ErrorDetails) -> tuple[str, str]:
    """Say where in the caller's own document something is wrong, and what."""
    if found["type"].startswith("union_tag"):
        return _place((*found["loc"], "kind")), f"Input should be one of {', '.join(_KINDS)}"
    return _place(found["loc"]), found["msg"].removeprefix("Value error, ")


def _place(location: tuple[int | str, ...]) -> str:
    # Below the discriminator, the place also names the kind, where no document has it.
    index = 1 if location and isinstance(location[0], int) else 0
    kept = [part for at, part in enumerate(location) if at != index or part not in _KINDS]
    return ".".join(map(str, kept))
