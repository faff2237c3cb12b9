"""Every rule of the contract's requests, and a request that breaks just that one.

The cases are made from the rules themselves: a new rule of a known kind gets its case by
itself, one of an unknown kind is told as missing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from miosa.sandbox import v1 as pb

from tests.support.contract import METHODS, PACKAGE, SERVED

BOX = "sandbox-of-the-test"
"""Stands for the id of a sandbox that there is."""

MINIMAL: dict[str, Callable[[], Message]] = {
    "StatusRequest": lambda: pb.StatusRequest(sandbox_id=BOX),
    "ExtendLifetimeRequest": lambda: pb.ExtendLifetimeRequest(
        sandbox_id=BOX, expire_time={"seconds": 1}
    ),
    "ExecRequest": lambda: pb.ExecRequest(sandbox_id=BOX, program=MINIMAL["Program"]()),
    "AttachRequest": lambda: pb.AttachRequest(sandbox_id=BOX, exec_id="e"),
    "SendInputRequest": lambda: pb.SendInputRequest(sandbox_id=BOX, exec_id="e", end_of_input=True),
    "SignalRequest": lambda: pb.SignalRequest(sandbox_id=BOX, exec_id="e", signal="TERM"),
    "CheckProgramRequest": lambda: pb.CheckProgramRequest(program=MINIMAL["Program"]()),
    "ResizePtyRequest": lambda: pb.ResizePtyRequest(
        sandbox_id=BOX, exec_id="e", size=MINIMAL["PtySize"]()
    ),
    "ListExecsRequest": lambda: pb.ListExecsRequest(sandbox_id=BOX),
    "GetPreviewRequest": lambda: pb.GetPreviewRequest(sandbox_id=BOX),
    "DestroyRequest": lambda: pb.DestroyRequest(sandbox_id=BOX),
    "SyncFilesRequest": lambda: pb.SyncFilesRequest(header=MINIMAL["SyncFilesHeader"]()),
    "SyncFilesHeader": lambda: pb.SyncFilesHeader(sandbox_id=BOX, root="app"),
    "SyncEntries": lambda: pb.SyncEntries(entries=[MINIMAL["SyncEntry"]()]),
    "SyncEntry": lambda: pb.SyncEntry(delete=MINIMAL["SyncDelete"]()),
    "PlanSyncRequest": lambda: pb.PlanSyncRequest(header=MINIMAL["PlanSyncHeader"]()),
    "PlanSyncHeader": lambda: pb.PlanSyncHeader(sandbox_id=BOX, root="app"),
    "ManifestEntries": lambda: pb.ManifestEntries(entries=[MINIMAL["ManifestEntry"]()]),
    "ManifestEntry": lambda: pb.ManifestEntry(path="a"),
    "ReadFileRequest": lambda: pb.ReadFileRequest(sandbox_id=BOX, path="a"),
    "ListFilesRequest": lambda: pb.ListFilesRequest(sandbox_id=BOX, path="a"),
    "DownloadTreeRequest": lambda: pb.DownloadTreeRequest(sandbox_id=BOX, root="a"),
    "SyncLink": lambda: pb.SyncLink(path="a", target="b"),
    "SyncFileHeader": lambda: pb.SyncFileHeader(path="a", sha256=bytes(32)),
    "SyncDelete": lambda: pb.SyncDelete(path="a"),
    "SyncDirectory": lambda: pb.SyncDirectory(path="a"),
    "ReloadAction": lambda: pb.ReloadAction(program=MINIMAL["Program"]()),
    "ReloadSignal": lambda: pb.ReloadSignal(exec_id="e", signal="HUP"),
    "Program": lambda: pb.Program(shell_command="true"),
    "Argv": lambda: pb.Argv(args=["true"]),
    "SourceCode": lambda: pb.SourceCode(language="bash", code="true"),
    "SetupStep": lambda: pb.SetupStep(program=MINIMAL["Program"]()),
    "InitialFile": lambda: pb.InitialFile(path="a"),
    "PtySize": lambda: pb.PtySize(cols=80, rows=24),
}
"""The smallest valid message of each type that is not valid when it is empty."""

_PTY = {"cols": 80, "rows": 24}
_STEP = {"program": {"shell_command": "true"}, "exec_id": "same"}

CEL: dict[str, dict[str, Any]] = {
    "pty.not_durable": {"pty": _PTY, "retention": pb.RETENTION_DURABLE},
    "spool_limit.durable_only": {"spool_limit": 4096},
    "reader_grace.attached_only": {
        "reader_grace": {"seconds": 1},
        "retention": pb.RETENTION_DETACHED,
    },
    "on_output_limit.needs_limit": {"on_output_limit": pb.ON_OUTPUT_LIMIT_TRUNCATE},
    "stdin.pty_open": {"pty": _PTY, "stdin": {"mode": pb.STDIN_MODE_NONE}},
    "data.mode": {"mode": pb.STDIN_MODE_NONE, "data": b"x"},
    "data.something": {"end_of_input": None},
    "lease.needs_owner": {"lease": {"seconds": 60}},
    "program.or_signal": {"program": None},
    "signal.alone": {"program": None, "signal": {"exec_id": "e", "signal": "HUP"}, "detach": True},
    "setup_steps.unique_exec_id": {"setup_steps": [_STEP, _STEP]},
}
"""For each rule about a whole message: fields that break it. None: being unset."""

BESIDE: dict[str, dict[str, Any]] = {
    "CreateRequest.lease": {"owner": "me"},
    "ExecRequest.on_output_limit": {"output_limit": 1},
    "ExecRequest.spool_limit": {"retention": pb.RETENTION_DURABLE},
}
"""For a field that may not stand alone: what has to stand beside it."""

INSTEAD = {"ReloadAction.signal": "program"}
"""For a field that stands alone: which of the smallest message it stands for."""

CEL_VALUES: dict[str, Any] = {"metadata.reserved": "miosa.x", "args.program": [""]}
"""For each rule that is an expression about one field: a value that breaks it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request that breaks one rule.

    Attributes:
        rule: The rule's place in the contract: type, field and rule.
        method: The RPC that is called with it.
        field: The path of the field, as `BadRequest` has to name it.
        rule_id: What protovalidate calls the rule.
    """

    rule: str
    method: str
    request: Message
    field: str
    rule_id: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A message inside of a request.

    Attributes:
        path: The fields that lead to it.
    """

    method: str
    request: Descriptor
    path: tuple[FieldDescriptor, ...]
    type: Descriptor

    def made(self) -> tuple[Message, Message, str]:
        """Return a valid request, this message in it, and its path with a dot behind it."""
        request = minimal(self.request)
        inner, path = request, ""
        for field in self.path:
            instead = INSTEAD.get(f"{field.containing_type.name}.{field.name}")
            if instead is not None:
                inner.ClearField(instead)
            if field.is_repeated:
                items = getattr(inner, field.name)
                inner = items[0] if items else items.add()
                path += f"{field.name}[0]."
            else:
                inner = getattr(inner, field.name)
                path += f"{field.name}."
            inner.CopyFrom(minimal(inner.DESCRIPTOR))
            inner.SetInParent()
        return request, inner, path


def minimal(type_: Descriptor) -> Message:
    """Return the smallest valid message of a type."""
    make = MINIMAL.get(type_.name)
    return GetMessageClass(type_)() if make is None else make()


def _places() -> list[_Place]:
    """Find each message type that a served RPC can receive, once, by the shortest path."""
    found: dict[str, _Place] = {}
    todo = deque(
        _Place(method.name, method.input_type, (), method.input_type)
        for method in METHODS
        if method.containing_service.name == "SandboxService" and method.name in SERVED
    )
    while todo:
        place = todo.popleft()
        if place.type.full_name in found:
            continue
        found[place.type.full_name] = place
        for field in place.type.fields:
            inner = field.message_type
            if inner and inner.file.package == PACKAGE and not inner.GetOptions().map_entry:
                todo.append(_Place(place.method, place.request, (*place.path, field), inner))
    return list(found.values())


def _not_matching(pattern: str) -> str:
    wrong = " "
    if re.search(pattern, wrong):
        raise ValueError(f"{pattern} takes {wrong!r}")
    return wrong


def _over(limits: Any) -> list[Any]:
    """Return the values next to a range's ends."""
    return [
        *([limits.gte - 1] if limits.HasField("gte") else []),
        *([limits.lte + 1] if limits.HasField("lte") else []),
    ]


def _duration_over(limits: Any) -> list[Any]:
    below = limits.gte.ToNanoseconds() - 1
    above = limits.lte.ToNanoseconds() + 1
    ends = [end for end, name in ((below, "gte"), (above, "lte")) if limits.HasField(name)]
    return [
        {"seconds": end // 10**9, "nanos": end % 10**9} if end >= 0 else {"nanos": end}
        for end in ends
    ]


def _range_id(kind: str, limits: Any) -> str:
    names = [name for name in ("gte", "lte") if limits.HasField(name)]
    return f"{kind}.{'_'.join(names)}"


def _scalar(rules: validate_pb2.FieldRules) -> Iterator[tuple[str, Any]]:
    """Yield each rule's id, and a value of a single field that breaks it."""
    kind = rules.WhichOneof("type")
    limits = getattr(rules, kind)
    names = {descriptor.name for descriptor, _ in limits.ListFields()}
    if names & {"gte", "lte"}:
        values = _duration_over(limits) if kind == "duration" else _over(limits)
        if kind in ("uint32", "uint64"):
            values = [value for value in values if value >= 0]
        yield from ((_range_id(kind, limits), value) for value in values)
        names -= {"gte", "lte"}
    for name in sorted(names):
        value = getattr(limits, name)
        known: dict[str, Callable[[], Any]] = {
            "string.min_len": lambda: "",
            "string.max_len": lambda value=value: "x" * (value + 1),
            "string.max_bytes": lambda value=value: "x" * (value + 1),
            "string.not_contains": lambda value=value: f"a{value}b",
            "string.in": lambda: "NONE OF THEM",
            "string.pattern": lambda value=value: _not_matching(value),
            "bytes.min_len": lambda: b"",
            "bytes.max_len": lambda value=value: bytes(value + 1),
            "bytes.len": lambda value=value: bytes(value + 1),
            "enum.defined_only": lambda: 99,
            "enum.not_in": lambda value=value: value[0],
        }
        make = known.get(f"{kind}.{name}")
        yield f"{kind}.{name}", _MISSING if make is None else make()


_MISSING = object()
_GOOD_ITEM = "1"
"""Valid in every list of strings."""


def _put(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.message_type:
        getattr(message, field.name).CopyFrom(field.message_type._concrete_class(**value))
    else:
        setattr(message, field.name, value)


def _items(field: FieldDescriptor, count: int) -> list[Any]:
    if field.message_type:
        return [minimal(field.message_type)] * count
    return [_GOOD_ITEM] * count


def _of_field(place: _Place, field: FieldDescriptor) -> Iterator[Case | str]:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    where = f"{place.type.name}.{field.name}"

    def case(
        rule_id: str, change: Callable[[Message], None], subscript: str = "", detail: str = ""
    ) -> Case:
        request, inner, path = place.made()
        inner.MergeFrom(type(inner)(**BESIDE.get(where, {})))
        change(inner)
        name = f"{where}: {detail}{rule_id}"
        return Case(name, place.method, request, f"{path}{field.name}{subscript}", rule_id)

    if rules.required:
        yield case("required", lambda it: it.ClearField(field.name))
    for cel in rules.cel:
        value = CEL_VALUES.get(cel.id)
        if value is None:
            yield f"{where}: {cel.id}"
            continue
        yield case(cel.id, lambda it, value=value: _replace(it, field, value))
    kind = rules.WhichOneof("type")
    if kind is None:
        return
    if kind == "repeated":
        yield from _of_repeated(field, rules.repeated, case)
    elif kind == "map":
        yield from _of_map(field, rules.map, case, where)
    else:
        for number, (rule_id, value) in enumerate(_scalar(rules)):
            if value is _MISSING:
                yield f"{where}: {rule_id}"
                continue
            yield case(rule_id, lambda it, value=value: _put(it, field, value), detail=f"{number} ")


def _replace(message: Message, field: FieldDescriptor, values: list[Any]) -> None:
    message.ClearField(field.name)
    getattr(message, field.name).extend(values)


def _of_repeated(
    field: FieldDescriptor, limits: Any, case: Callable[..., Case]
) -> Iterator[Case | str]:
    if limits.HasField("min_items"):
        yield case("repeated.min_items", lambda it: it.ClearField(field.name))
    if limits.HasField("max_items"):
        many = _items(field, limits.max_items + 1)
        if field.enum_type:
            many = [1] * (limits.max_items + 1)
        yield case("repeated.max_items", lambda it: _replace(it, field, many))
    if limits.HasField("items"):
        good = 1 if field.enum_type else _GOOD_ITEM
        for rule_id, value in _scalar(limits.items):
            yield case(
                rule_id,
                lambda it, value=value: _replace(it, field, [good, value]),
                "[1]",
                "items ",
            )


def _of_map(
    field: FieldDescriptor, limits: Any, case: Callable[..., Case], where: str
) -> Iterator[Case | str]:
    def put(key: str, value: str) -> Callable[[Message], None]:
        return lambda it: getattr(it, field.name).update({key: value})

    def many(it: Message) -> None:
        getattr(it, field.name).update({f"K{n}": "" for n in range(limits.max_pairs + 1)})

    if limits.HasField("max_pairs"):
        yield case("map.max_pairs", many)
    for cel in limits.keys.cel:
        key = CEL_VALUES.get(cel.id)
        if key is None:
            yield f"{where}: keys {cel.id}"
            continue
        yield case(cel.id, put(key, ""), f'["{key}"]', "keys ")
    if limits.HasField("keys"):
        for rule_id, key in _scalar(limits.keys):
            yield case(rule_id, put(key, ""), f'["{key}"]', "keys ")
    if limits.HasField("values"):
        for rule_id, value in _scalar(limits.values):
            yield case(rule_id, put("K", value), '["K"]', "values ")


def _of_oneof(place: _Place, oneof: OneofDescriptor) -> Iterator[Case]:
    if not oneof.GetOptions().Extensions[validate_pb2.oneof].required:
        return
    request, inner, path = place.made()
    inner.ClearField(inner.WhichOneof(oneof.name))
    name = f"{place.type.name}.{oneof.name}: required"
    yield Case(name, place.method, request, f"{path}{oneof.name}", "required")


def _of_message(place: _Place) -> Iterator[Case | str]:
    for cel in place.type.GetOptions().Extensions[validate_pb2.message].cel:
        fields = CEL.get(cel.id)
        if fields is None:
            yield f"{place.type.name}: {cel.id}"
            continue
        request, inner, path = place.made()
        for name in (name for name, value in fields.items() if value is None):
            inner.ClearField(name)
        inner.MergeFrom(type(inner)(**fields))
        about = cel.id.partition(".")[0]
        yield Case(f"{place.type.name}: {cel.id}", place.method, request, f"{path}{about}", cel.id)


def _all() -> Iterator[Case | str]:
    for place in _places():
        yield from _of_message(place)
        for oneof in place.type.oneofs:
            yield from _of_oneof(place, oneof)
        for field in place.type.fields:
            if field.GetOptions().HasExtension(validate_pb2.field):
                yield from _of_field(place, field)


_FOUND = list(_all())
CASES = [it for it in _FOUND if isinstance(it, Case)]
MISSING = [it for it in _FOUND if isinstance(it, str)]
"""Rules that nobody has written a case for."""
PLACES = [(place.method, place.type, place.made()[0]) for place in _places()]
"""Each message type that can be received, in a valid request."""
