"""Artifacts as messages."""

from __future__ import annotations

from miosa.sandbox.v1 import artifact_pb2, exec_event_pb2

from sandbox_service.contract import times
from sandbox_service.domain.artifacts import Artifact, ExecArtifacts


def found(it: ExecArtifacts) -> exec_event_pb2.ExecArtifacts:
    """Return what appeared while a program ran."""
    return exec_event_pb2.ExecArtifacts(
        artifacts=[artifact(each) for each in it.artifacts],
        artifact_count=it.count,
        artifact_bytes=it.size,
        failure_reason=it.failure_reason,
    )


def artifact(it: Artifact) -> artifact_pb2.Artifact:
    """Return a file that a program left."""
    return artifact_pb2.Artifact(
        path=it.path,
        size=it.size,
        sha256=it.sha256,
        mode=it.mode,
        modify_time=times.timestamp(it.modify_time),
        media_type=it.media_type,
    )
