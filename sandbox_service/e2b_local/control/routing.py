"""From a method and a path to the endpoint that answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.http1 import Exchange

    Endpoint = Callable[[ControlPlane, Exchange, "Match"], Awaitable[None]]


class ApiError(Exception):
    """A request that is refused, with the HTTP status that says so.

    Args:
        status: HTTP status, 400 or more.
        message: For people, in E2B's words where clients read them.
        error_code: A word for programs, where E2B has one.
        headers: More header fields of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        error_code: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code
        self.headers = tuple(headers)

    @property
    def document(self) -> dict[str, object]:
        """The JSON that says it."""
        shown: dict[str, object] = {"code": self.status, "message": self.message}
        if self.error_code is not None:
            shown["error_code"] = self.error_code
        return shown


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    Attributes:
        method: Upper-case HTTP method.
        path: Such as `/v2/sandboxes/{id}/connect`; a name in braces stands for
            one segment, whatever it holds.
        endpoint: Answers the request.
    """

    method: str
    path: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Match:
    """A route that fits a request.

    Attributes:
        route: It.
        parameters: The segments that its braces stand for, decoded, by name.
    """

    route: Route
    parameters: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]


@dataclass(slots=True)
class _Node:
    """What may follow the segments of a path so far."""

    literals: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    routes: dict[str, Route] = field(default_factory=dict)


class Router:
    """Finds endpoints.

    A segment that is spelt out wins over one in braces.

    Args:
        routes: All there are.

    Raises:
        ValueError: Two of them are the same.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in _segments(route.path):
                if segment.startswith("{"):
                    node.any = node.any or _Node()
                    node = node.any
                else:
                    node = node.literals.setdefault(segment, _Node())
            if route.method in node.routes:
                raise ValueError(f"two routes for {route.method} {route.path}")
            node.routes[route.method] = route

    def match(self, method: str, path: str) -> Match:
        """Find the endpoint of a request.

        Args:
            method: Upper-case HTTP method.
            path: As it came, still encoded: a slash within a segment is not one
                between two.

        Raises:
            ApiError: 404: no endpoint has this path. 405: one has, for other methods.
        """
        node = self._root
        values = []
        for segment in _segments(path):
            child = node.literals.get(segment)
            if child is None and segment and node.any is not None:
                child = node.any
                values.append(unquote(segment))
            if child is None:
                raise _no_such_endpoint()
            node = child
        if not node.routes:
            raise _no_such_endpoint()
        route = node.routes.get(method)
        if route is None:
            allowed = ", ".join(sorted(node.routes))
            raise ApiError(405, "method not allowed", headers=[("allow", allowed)])
        names = [part[1:-1] for part in _segments(route.path) if part.startswith("{")]
        return Match(route, dict(zip(names, values, strict=True)))


def _segments(path: str) -> list[str]:
    return path.removeprefix("/").split("/")


def _no_such_endpoint() -> ApiError:
    return ApiError(404, "no matching operation was found")
