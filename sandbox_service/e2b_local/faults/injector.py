"""Makes requests go wrong, as the rules say."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

from sandbox_service.e2b_local.envd import ENVD_PORT
from sandbox_service.e2b_local.faults import rules
from sandbox_service.e2b_local.faults.errors import RuleExistsError
from sandbox_service.e2b_local.faults.wires import CutWire, StalledWire
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from sandbox_service.e2b_local.gateway.routing import Target
    from sandbox_service.e2b_local.http1 import Exchange

logger = logging.getLogger(__name__)

_RULES_LIMIT: Final = 1000
# What belongs to this backend alone is always answered: a rule can be taken back.
_OWN_PATHS: Final = "/local/"
_LIST: Final = re.compile(r"(?:/v\d+)?/sandboxes/?")
_OF_SANDBOX: Final = re.compile(r"(?:/v\d+)?/sandboxes/(?P<id>[a-z0-9]+)(?:-[a-z0-9]+)?(?:/.*)?")

_list_lag: ContextVar[float] = ContextVar("list_lag_seconds", default=0.0)


@dataclass(frozen=True, slots=True)
class _Request:
    """What rules look at.

    Attributes:
        sandbox_id: The sandbox it is for; None: for none of them.
        port: The sandbox's port it is for; None: it is for the control plane.
    """

    method: str
    path: str
    sandbox_id: str | None
    port: int | None

    @property
    def plane(self) -> Literal["control", "envd", "port"]:
        if self.port is None:
            return "control"
        return "envd" if self.port == ENVD_PORT else "port"

    @property
    def is_list(self) -> bool:
        return (
            self.plane == "control"
            and self.method == "GET"
            and _LIST.fullmatch(self.path) is not None
        )

    @property
    def is_upload(self) -> bool:
        return (
            self.sandbox_id is not None
            and self.plane == "envd"
            and self.method == "POST"
            and self.path == "/files"
        )


def _request_of(exchange: Exchange, target: Target | None) -> _Request:
    if target is not None:
        return _Request(exchange.method, exchange.path, target.sandbox_id, target.port)
    if exchange.path == "/files":
        # A signed URL on a shared host, which does not tell its sandbox.
        return _Request(exchange.method, exchange.path, None, ENVD_PORT)
    matched = _OF_SANDBOX.fullmatch(exchange.path)
    sandbox_id = matched["id"] if matched is not None else None
    return _Request(exchange.method, exchange.path, sandbox_id, None)


class _Fault:
    """One rule, and how often it has happened.

    Args:
        rule_id: Its name.
        rule: What happens to whom.
    """

    def __init__(self, rule_id: str, rule: rules.Rule) -> None:
        self.rule_id = rule_id
        self.rule = rule
        self.fired = 0
        self.removed = False
        self.seed = secrets.randbits(32) if rule.seed is None else rule.seed
        # Whoever gives a seed wants the same faults again.
        self.random = random.Random(self.seed)  # noqa: S311
        self._path = None if rule.match.path is None else re.compile(rule.match.path)

    @property
    def is_over(self) -> bool:
        """Whether it never happens again."""
        return self.removed or (self.rule.times is not None and self.fired >= self.rule.times)

    def is_for(self, request: _Request) -> bool:
        """Tell whether it is about a request, and chosen by its dice for it."""
        match = self.rule.match
        is_meant = (
            not self.is_over
            and (match.methods is None or request.method in match.methods)
            and (match.plane is None or request.plane == match.plane)
            and (match.sandbox_id is None or request.sandbox_id == match.sandbox_id)
            and (match.port is None or request.port == match.port)
            and (self._path is None or self._path.search(request.path) is not None)
            and self._can_befall(request)
        )
        # Thrown for requests that match, and only then: so a seed tells which of them.
        return is_meant and (
            self.rule.probability >= 1 or self.random.random() < self.rule.probability
        )

    def _can_befall(self, request: _Request) -> bool:
        match self.rule:
            case rules.LateList():
                return request.is_list
            case rules.Vanish():
                return request.sandbox_id is not None
            case rules.KillDuringUpload():
                return request.is_upload
        return True

    def fire(self) -> bool:
        """Count that it happens. False: it does not, for it is over by now."""
        if self.is_over:
            return False
        self.fired += 1
        logger.info("fault %s (%s) happens", self.rule_id, self.rule.kind)
        return True

    def view(self) -> dict[str, Any]:
        """Show the rule, and how often it has happened."""
        shown = self.rule.model_dump(mode="json", exclude_none=True)
        return {**shown, "id": self.rule_id, "seed": self.seed, "fired": self.fired}


class FaultInjector:
    """Makes requests go wrong.

    Rules are looked at in the order in which they were added; every one that
    matches a request happens to it, until one of them has answered it.

    Args:
        kill: Ends a sandbox.
        given: The rules to begin with.
    """

    def __init__(
        self, kill: Callable[[str], Awaitable[object]], given: Iterable[rules.Rule] = ()
    ) -> None:
        self._kill = kill
        self._faults: dict[str, _Fault] = {}
        self._numbered = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.add(given)

    # The rules

    def add_json(self, document: bytes) -> list[dict[str, Any]]:
        """Add the rules of a JSON document, all of them or none, and show them.

        Raises:
            RulesError: The document holds no rules.
            RuleExistsError: An id is taken, or there would be too many rules.
        """
        return self.add(rules.parse_rules(document))

    def add(self, wanted: Iterable[rules.Rule]) -> list[dict[str, Any]]:
        """Add rules, all of them or none, and show them.

        Raises:
            RuleExistsError: An id is taken, or there would be too many rules.
        """
        added: dict[str, _Fault] = {}
        for rule in wanted:
            rule_id = rule.id or self._new_id(added)
            if rule_id in self._faults or rule_id in added:
                message = f"there is a rule {rule_id!r} already"
                raise RuleExistsError(message)
            added[rule_id] = _Fault(rule_id, rule)
        if len(self._faults) + len(added) > _RULES_LIMIT:
            message = f"there would be more than {_RULES_LIMIT} rules"
            raise RuleExistsError(message)
        self._faults.update(added)
        return [fault.view() for fault in added.values()]

    def _new_id(self, added: Mapping[str, _Fault]) -> str:
        while True:
            self._numbered += 1
            rule_id = f"fault-{self._numbered}"
            if rule_id not in self._faults and rule_id not in added:
                return rule_id

    def remove(self, rule_id: str) -> bool:
        """Take a rule back, also from the requests that it waits in."""
        fault = self._faults.pop(rule_id, None)
        if fault is None:
            return False
        fault.removed = True
        return True

    def clear(self) -> None:
        """Take all rules back."""
        for rule_id in list(self._faults):
            self.remove(rule_id)

    def views(self) -> list[dict[str, Any]]:
        """Show all rules, in the order in which they are looked at."""
        return [fault.view() for fault in self._faults.values()]

    # The requests

    @property
    def list_lag_seconds(self) -> float:
        """How old a sandbox must be for the list that this task answers."""
        return _list_lag.get()

    async def apply(self, exchange: Exchange, target: Target | None) -> bool:
        """Let happen to a request what the rules say, before anybody looks at it.

        Args:
            exchange: The request.
            target: The sandbox's port it is for. None: it is for the control plane.

        Returns:
            True: it has been answered, or its client has left.
        """
        if target is None and exchange.path.startswith(_OWN_PATHS):
            return False
        request = _request_of(exchange, target)
        lag = 0.0
        for fault in list(self._faults.values()):
            if not fault.is_for(request):
                continue
            if isinstance(fault.rule, rules.LateList):
                lag = max(lag, fault.rule.params.seconds if fault.fire() else 0.0)
            elif await self._befall(exchange, request, fault):
                return True
        if request.is_list:
            _list_lag.set(lag)
        return False

    async def _befall(self, exchange: Exchange, request: _Request, fault: _Fault) -> bool:
        """Let one fault happen. True: the request needs no answer any more."""
        match fault.rule:
            case rules.Drop(params=params):
                exchange.wire = CutWire(exchange, params.after_bytes, fault.fire)
            case rules.Stall(params=params):
                exchange.wire = StalledWire(
                    exchange, params.after_bytes, fault.fire, params.seconds
                )
            case rules.KillDuringUpload(params=params):
                self._watch_upload(exchange, request, fault, params.after_bytes)
            case rules.Vanish(params=params) if fault.fire():
                await self._vanish(request, params.after_seconds)
            case rules.Delay(params=params) if fault.fire():
                jitter = params.jitter_seconds * fault.random.random()
                return not await _stays(exchange, params.seconds + jitter)
            case rules.Status(params=params) if fault.fire():
                _answer(exchange, params)
                return True
        return False

    async def _vanish(self, request: _Request, after_seconds: float) -> None:
        if request.sandbox_id is None:
            return
        if after_seconds:
            self._spawn(self._end_later(request.sandbox_id, after_seconds))
        else:
            await self._kill(request.sandbox_id)

    def _watch_upload(
        self, exchange: Exchange, request: _Request, fault: _Fault, after_bytes: int
    ) -> None:
        left = after_bytes - exchange.buffered_bytes

        def count(size: int) -> None:
            nonlocal left
            left -= size
            if left <= 0:
                exchange.on_body = None
                if request.sandbox_id is not None and fault.fire():
                    self._spawn(self._end_later(request.sandbox_id, 0))

        exchange.on_body = count
        if exchange.buffered_bytes:
            count(0)

    async def _end_later(self, sandbox_id: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._kill(sandbox_id)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _stays(exchange: Exchange, seconds: float) -> bool:
    """Wait. False: the client has left meanwhile."""
    gone = asyncio.Event()
    exchange.when_closed(gone.set)
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    except TimeoutError:
        return True
    return False


def _answer(exchange: Exchange, params: rules.StatusParams) -> None:
    body = params.body
    if body is None:
        message = params.message or HTTPStatus(params.status).phrase
        body = {"code": params.status, "message": message}
    headers = []
    if params.retry_after_seconds is not None:
        headers.append(("retry-after", str(params.retry_after_seconds)))
    if params.should_retry is not None:
        headers.append(("should-retry", str(params.should_retry).lower()))
    send_json(exchange, params.status, body, headers)
