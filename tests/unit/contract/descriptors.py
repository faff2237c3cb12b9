"""The contract as descriptors, for the tests about it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

ROOT = Path(__file__).parents[3]
PROTOS = ROOT / "protos"
PACKAGE = "miosa.sandbox.v1"


def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(
        (ROOT / "generated/sandbox.binpb").read_bytes()
    )


OUR_FILES = [file for file in descriptor_set().file if file.package == PACKAGE]
for _file in OUR_FILES:
    importlib.import_module(_file.name.removesuffix(".proto").replace("/", ".") + "_pb2")

SERVICES = [
    descriptor_pool.Default().FindServiceByName(f"{PACKAGE}.{service.name}")
    for file in OUR_FILES
    for service in file.service
]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
METHOD_IDS = [f"{method.containing_service.name}.{method.name}" for method in METHODS]


def comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Leading comments of a file by the path of what they stand before."""
    return {
        tuple(location.path): location.leading_comments
        for location in file.source_code_info.location
        if location.leading_comments.strip()
    }


def _within(
    messages: list[descriptor_pb2.DescriptorProto], path: tuple[int, ...], name: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    """The path and name of every message, field, oneof and enum below `messages`."""
    for i, message in enumerate(messages):
        if message.options.map_entry:
            continue
        here, full = (*path, i), f"{name}.{message.name}"
        yield here, full
        yield from (((*here, 2, j), f"{full}.{f.name}") for j, f in enumerate(message.field))
        for j, oneof in enumerate(message.oneof_decl):
            # A field that is `optional` lies in a oneof that nobody wrote.
            if not oneof.name.startswith("_"):
                yield (*here, 8, j), f"{full}.{oneof.name}"
        yield from _within(list(message.nested_type), (*here, 3), full)


def elements(
    file: descriptor_pb2.FileDescriptorProto,
) -> Iterator[tuple[tuple[int, ...], str]]:
    """The path and name of everything in a file that has to be commented."""
    yield from _within(list(file.message_type), (4,), file.name)
    for i, enum in enumerate(file.enum_type):
        yield (5, i), enum.name
        yield from (((5, i, 2, j), value.name) for j, value in enumerate(enum.value))
    for i, service in enumerate(file.service):
        yield (6, i), service.name
        yield from (((6, i, 2, j), m.name) for j, m in enumerate(service.method))


def method_comments() -> dict[str, str]:
    return {
        f"{service.name}.{method.name}": comments(file)[(6, i, 2, j)]
        for file in OUR_FILES
        for i, service in enumerate(file.service)
        for j, method in enumerate(service.method)
    }


def reachable(roots: list[Descriptor]) -> list[Descriptor]:
    """Every message of ours that a message of `roots` can hold, and the roots."""
    found: dict[str, Descriptor] = {}
    todo = list(roots)
    while todo:
        message = todo.pop()
        if message.full_name in found or message.file.package != PACKAGE:
            continue
        found[message.full_name] = message
        todo += [field.message_type for field in message.fields if field.message_type]
    return [found[name] for name in sorted(found)]


REQUESTS = [method.input_type for method in METHODS]
IN_REQUESTS = [m for m in reachable(REQUESTS) if not m.GetOptions().map_entry]
EVERY_MESSAGE = [
    descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{message.name}")
    for file in OUR_FILES
    for message in file.message_type
]
EVERY_FIELD = [field for message in EVERY_MESSAGE for field in message.fields]


def rules(field: FieldDescriptor) -> validate_pb2.FieldRules | None:
    options = field.GetOptions()
    return (
        options.Extensions[validate_pb2.field] if options.HasExtension(validate_pb2.field) else None
    )


def reasons() -> dict[str, str]:
    """The comment of each reason by its name without the prefix."""
    (file,) = [file for file in OUR_FILES if file.name.endswith("/error_reason.proto")]
    said = comments(file)
    return {
        value.name.removeprefix("ERROR_REASON_"): said[(5, 0, 2, i)]
        for i, value in enumerate(file.enum_type[0].value)
        if value.number
    }
