"""Settings: from flags, environment (`SANDBOX_*`) or a `.env` file, in that order.

E2B's own variables mean what they mean to the SDK.
"""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sandbox_service.domain.limits import MIB, Limits
from sandbox_service.domain.policy import Action, Mode, PolicyTerms


def default_state_dir() -> Path:
    """Return where state lies unless it is set.

    As root a folder that other users may pass, for sandboxes then run under
    uids of their own; otherwise what the XDG rules say.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/sandbox-service")
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "sandbox-service"


def images_dir(state_dir: Path) -> Path:
    """Where root filesystems of templates lie unpacked, for all that share a state."""
    return state_dir / "images"


class Settings(BaseSettings):
    """What an operator can set. Every field has a default that works."""

    model_config = SettingsConfigDict(
        env_prefix="SANDBOX_", env_file=".env", extra="ignore", populate_by_name=True
    )

    grpc_address: str = Field("127.0.0.1:50051", description="Where gRPC listens: host:port.")
    http_address: str = Field(
        "127.0.0.1:8080", description="Where HTTP listens (metrics, health): host:port."
    )
    state_dir: Path = Field(
        default_factory=default_state_dir,
        description="The folder for what must outlive the process.",
    )
    store_url: SecretStr = Field(
        SecretStr(""), description="The store's URL. Empty: SQLite in the state folder."
    )
    deployment: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Tells this deployment's sandboxes from others' in the same E2B account.",
    )
    catalogue: Path | None = Field(
        None, description="A YAML file of templates instead of the shipped one."
    )
    trusted_peers: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="Networks whose callers may name tenant and user, comma-separated.",
    )
    backend: Literal["auto", "embedded", "e2b"] = Field(
        "auto", description="auto: E2B when a key is set, else the embedded backend."
    )
    local_domain: str = Field(
        "sbx.localhost", description="Embedded backend: the domain of preview URLs."
    )
    local_port: int = Field(0, ge=0, le=65535, description="Embedded backend: its port; 0: any.")
    local_limits: Literal["auto", "watch", "off"] = Field(
        "auto",
        description="Embedded backend: what keeps sandboxes to their memory, CPU and disk; auto: "
        "control groups if possible, else a watchdog.",
    )
    local_warm: int = Field(
        2,
        ge=0,
        le=100,
        description="Embedded backend: sandboxes kept booted for those who will ask.",
    )
    local_isolation: Literal[
        "auto",
        "bwrap-userns",
        "bwrap-host-uid",
        "bwrap-given-userns",
        "bwrap-no-userns",
        "process-unsafe",
    ] = Field(
        "auto",
        description="Embedded backend: what keeps sandboxes apart; auto: the best that works here."
        " `process-unsafe` is no boundary.",
    )
    local_bwrap: Path | None = Field(
        None, description="Embedded backend: the bubblewrap to use instead of the first that works."
    )
    local_egress: Literal["none", "proxy"] = Field(
        "none", description="Embedded backend: the way out of sandboxes; proxy: to allowed hosts."
    )
    local_egress_allow: str = Field(
        "",
        description="Embedded backend: hosts, `*.example.com` or networks that sandboxes may reach,"
        " comma-separated; `*`: any public host. Empty: the registries of PyPI, npm and Debian.",
    )
    local_egress_ports: str = Field(
        "80,443", description="Embedded backend: on which ports, comma-separated."
    )
    local_egress_private: str = Field(
        "",
        description="Embedded backend: networks that are not public and may be reached all the"
        " same, comma-separated; never this machine's own addresses.",
    )
    lifetime_default_seconds: int = Field(
        300, ge=1, description="A sandbox's lifetime when the caller asks for none."
    )
    lifetime_max_seconds: int = Field(
        86400, ge=1, description="The longest lifetime that may be asked for."
    )
    execs_per_sandbox_max: int = Field(1024, ge=1, description="Execs at once in one sandbox.")
    execs_max: int = Field(4096, ge=1, description="Execs at once in this process.")
    journal_bytes_max: int = Field(
        8 * MIB, ge=64 * 1024, description="Output kept per exec for its readers."
    )
    journals_bytes_max: int = Field(
        512 * MIB, ge=MIB, description="Output kept for readers of all execs together."
    )
    ended_execs_max: int = Field(
        1024, ge=0, description="Execs whose results are kept after their end."
    )
    ended_exec_seconds: int = Field(
        900, ge=0, description="How long an exec's output and result are kept after its end."
    )
    spool_bytes: int = Field(
        64 * MIB,
        ge=4096,
        le=1024 * MIB,
        description="Output of each stream that a DURABLE exec keeps in its sandbox.",
    )
    advertised_address: str = Field(
        "",
        description="Where other instances, and their callers, reach this one: host:port. "
        "Empty: nowhere.",
    )
    policy_mode: Mode = Field(
        Mode.DENY,
        description="The code policy's strictest action: off, allow (tells), warn or deny. "
        "It is a lint; isolation is the boundary.",
    )
    policy_tenants: Annotated[dict[str, Mode], NoDecode] = Field(
        {}, description="Another mode for some tenants: acme=off,other=warn."
    )
    policy_rules: Path | None = Field(
        None, description="A folder of ast-grep rules (*.yaml) instead of the shipped ones."
    )
    policy_unchecked: Literal["allow", "warn", "deny"] = Field(
        "warn", description="What is done about code that the policy cannot check."
    )
    policy_bytes_max: int = Field(
        256 * 1024, ge=1024, description="The largest code that the policy checks, in bytes."
    )
    sync_files_max: int = Field(200_000, ge=1, description="Entries in one SyncFiles call.")
    sync_bytes_max: int = Field(
        8 * 1024 * MIB, ge=1, description="Bytes of content in one SyncFiles call."
    )
    drain_seconds: float = Field(10.0, ge=0, description="How long calls may go on after SIGTERM.")
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        description="How long to serve on after SIGTERM, until balancers have noticed.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Which logs are written."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, else JSON lines."
    )
    trace_endpoint: str = Field(
        "", description="OTLP/HTTP URL that traces are sent to. Empty: nowhere."
    )
    trace_sample_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of traces kept when the caller does not decide."
    )
    reflection: bool = Field(True, description="Serve gRPC reflection, for grpcurl.")
    channelz: bool = Field(False, description="Serve channelz, for debugging connections.")

    e2b_api_key: SecretStr = Field(
        SecretStr(""), validation_alias="E2B_API_KEY", description="E2B's key."
    )
    e2b_domain: str = Field("", validation_alias="E2B_DOMAIN", description="E2B's domain.")
    e2b_api_url: str = Field("", validation_alias="E2B_API_URL", description="E2B's API.")
    e2b_sandbox_url: str = Field(
        "", validation_alias="E2B_SANDBOX_URL", description="E2B's sandbox proxy."
    )

    @field_validator("trusted_peers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        except ValueError as error:
            raise ValueError(f"{error}; write networks such as 10.0.0.0/8,::1/128") from None

    @field_validator("policy_tenants", mode="before")
    @classmethod
    def _split_modes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().rpartition("=") for part in value.split(",") if part.strip()]
        if not all(tenant.strip() for tenant, _, _ in pairs):
            raise ValueError("write tenants and modes such as acme=off,other=warn")
        return {tenant.strip(): mode.strip() for tenant, _, mode in pairs}

    @property
    def embedded(self) -> bool:
        """Whether the embedded backend is to be started."""
        if self.backend == "auto":
            return not self.e2b_api_key.get_secret_value()
        return self.backend == "embedded"

    @property
    def policy(self) -> PolicyTerms:
        """What is decided about the code policy."""
        return PolicyTerms(
            mode=self.policy_mode,
            tenants=self.policy_tenants,
            unchecked=Action[self.policy_unchecked.upper()],
            bytes_max=self.policy_bytes_max,
        )

    @property
    def egress_flags(self) -> tuple[str, ...]:
        """What the embedded backend is told of the way out of sandboxes."""
        return (
            f"--egress={self.local_egress}",
            f"--egress-allow={self.local_egress_allow}",
            f"--egress-ports={self.local_egress_ports}",
            f"--egress-private={self.local_egress_private}",
        )

    @property
    def limits(self) -> Limits:
        """The ceilings, as the operations know them."""
        return Limits(
            lifetime_default=timedelta(seconds=self.lifetime_default_seconds),
            lifetime_max=timedelta(seconds=self.lifetime_max_seconds),
            execs_per_sandbox=self.execs_per_sandbox_max,
            execs=self.execs_max,
            journal_bytes=self.journal_bytes_max,
            journals_bytes=self.journals_bytes_max,
            ended_execs=self.ended_execs_max,
            ended_exec_retention=timedelta(seconds=self.ended_exec_seconds),
            spool_bytes=self.spool_bytes,
            sync_files=self.sync_files_max,
            sync_bytes=self.sync_bytes_max,
        )
