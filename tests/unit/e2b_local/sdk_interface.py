"""What the pinned SDK says on the wire, read from its generated modules.

After an upgrade of the SDK, look at what `test_sdk_drift.py` shows, teach the backend
what is new, and write the new fingerprint:

    python -m tests.unit.e2b_local.sdk_interface
"""

from __future__ import annotations

import ast
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import e2b
from e2b.envd.filesystem import filesystem_pb
from e2b.envd.process import process_pb

COMMITTED = Path(__file__).with_name("sdk_interface.json")
_CALLS = Path(e2b.__file__).parent / "api/client/api"
_FILES = (process_pb, filesystem_pb)


def interface() -> dict[str, Any]:
    """Return the interface: what envd's clients and the control plane's call, and with what."""
    services: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    for module in _FILES:
        described = module.desc()
        for service in described.services:
            services[service.type_name] = {
                method.name: f"{method.method_kind}:"
                f" {method.input.type_name} -> {method.output.type_name}"
                for method in service.methods
            }
        for message in described.messages:
            _add_message(message, messages, enums)
        for enum in described.enums:
            enums[enum.type_name] = {value.name: value.number for value in enum.values}
    return {
        "version": version("e2b"),
        "services": services,
        "messages": messages,
        "enums": enums,
        "rest": _rest_calls(),
    }


def _add_message(message: Any, messages: dict[str, Any], enums: dict[str, Any]) -> None:
    messages[message.type_name] = {
        field.name: f"{field.number}: {_kind(field)}" for field in message.fields
    }
    for nested in message.nested_messages:
        _add_message(nested, messages, enums)
    for enum in message.nested_enums:
        enums[enum.type_name] = {value.name: value.number for value in enum.values}


def _kind(field: Any) -> str:
    """Name a field's type as the proto file does."""
    declared = field.proto
    kind = declared.type_name.removeprefix(".") or declared.type.name.removeprefix("TYPE_").lower()
    if declared.label.name.endswith("REPEATED"):
        kind = f"repeated {kind}"
    elif declared.proto3_optional:
        kind = f"optional {kind}"
    oneof = getattr(field.value, "oneof", None)
    return kind if oneof is None else f"{kind}, one of {oneof.name}"


def _rest_calls() -> dict[str, list[str]]:
    """Return the query parameters and headers of each call, by method and path."""
    calls = {}
    for path in sorted(_CALLS.glob("*/*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "_get_kwargs":
                name, sent = _call(node)
                calls[name] = sent
    return dict(sorted(calls.items()))


def _call(function: ast.FunctionDef) -> tuple[str, list[str]]:
    said: dict[str, str] = {}
    sent: list[str] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in ("method", "url"):
                    said[key.value] = ast.unparse(value).removeprefix("f").strip("'\"")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            target = ast.unparse(node.targets[0])
            if target.startswith(("params[", "headers[")):
                sent.append(target.replace("[", " ").strip("]").replace("'", ""))
    return f"{said['method'].upper()} {said['url']}", sorted(sent)


def as_lines(document: dict[str, Any]) -> list[str]:
    """Write an interface the way it is committed, for a difference that people can read."""
    return json.dumps(document, indent=1).splitlines()


if __name__ == "__main__":
    COMMITTED.write_text("\n".join(as_lines(interface())) + "\n")
