"""The name of every span, attribute, metric and label, so that they agree with one another."""

from __future__ import annotations

from typing import Final

# Spans: `<package>.<Service>/<Method>` for a call (OpenTelemetry's RPC
# conventions), `backend.<operation>` for one to E2B, `sandbox.<phase>` inside.
BACKEND_SPAN: Final = "backend."

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
ERROR_REASON: Final = "sandbox.error.reason"
SANDBOX_ID: Final = "sandbox.id"
EXEC_ID: Final = "sandbox.exec.id"
TENANT: Final = "sandbox.tenant"

# Metrics. The gRPC ones carry the names of go-grpc-middleware, so that one
# dashboard shows both sides.
GRPC_STARTED: Final = "grpc_server_started_total"
GRPC_HANDLED: Final = "grpc_server_handled_total"
GRPC_SECONDS: Final = "grpc_server_handling_seconds"
GRPC_MSG_RECEIVED: Final = "grpc_server_msg_received_total"
GRPC_MSG_SENT: Final = "grpc_server_msg_sent_total"
GRPC_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")

SANDBOXES: Final = "sandbox_sandboxes"
SANDBOXES_CREATED: Final = "sandbox_created_total"
SANDBOXES_ENDED: Final = "sandbox_ended_total"
CREATE_SECONDS: Final = "sandbox_create_seconds"
EXECS_RUNNING: Final = "sandbox_execs_running"
EXECS_ENDED: Final = "sandbox_execs_ended_total"
EXEC_OUTPUT_BYTES: Final = "sandbox_exec_output_bytes_total"
EXEC_JOURNAL_BYTES: Final = "sandbox_exec_journal_bytes"
SYNCED_BYTES: Final = "sandbox_synced_bytes_total"
READ_BYTES: Final = "sandbox_read_bytes_total"
SYNCED_FILES: Final = "sandbox_synced_files_total"
BACKEND_SECONDS: Final = "sandbox_backend_seconds"
BACKEND_ERRORS: Final = "sandbox_backend_errors_total"
POLICY_VERDICTS: Final = "sandbox_policy_verdicts_total"
POLICY_FINDINGS: Final = "sandbox_policy_findings_total"
POLICY_SECONDS: Final = "sandbox_policy_seconds"
ERRORS: Final = "sandbox_errors_total"
