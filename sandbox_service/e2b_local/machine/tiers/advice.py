"""What to do about a machine that will not isolate: from its words to advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import IsolationUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADVICE: Final = (
    (
        "user namespace could be",
        "Not even root may make user namespaces here.",
        "Raise `sysctl user.max_user_namespaces`, or let the container have CAP_SYS_ADMIN.",
    ),
    (
        "namespaces exceeded",
        "The machine's limit of namespaces is reached or zero.",
        "Raise it: `sysctl user.max_user_namespaces=15000`, and the other `user.max_*` likewise.",
    ),
    (
        "creating new namespace failed",
        "Namespaces may not be created here, as in a container without privileges.",
        "Start the container with `--cap-add SYS_ADMIN`, `--security-opt seccomp=unconfined` and "
        "`--security-opt apparmor=unconfined`, or run as an ordinary user who may use them.",
    ),
    (
        "setting up uid map: permission denied",
        "The system's security policy keeps programs from using user namespaces.",
        "On Ubuntu 23.10 or newer: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, "
        "or an AppArmor profile that allows `userns` for this bwrap.",
    ),
    (
        "no permissions to create new namespace",
        "Namespaces may not be created here, as in a container with its default profile.",
        "Start the container with `--security-opt seccomp=unconfined` and "
        "`--security-opt apparmor=unconfined`; on a host: "
        "`sysctl kernel.unprivileged_userns_clone=1`.",
    ),
    (
        "no permissions to creating new namespace",
        "Namespaces may not be created here, as in a container with its default profile.",
        "Start the container with `--security-opt seccomp=unconfined` and "
        "`--security-opt apparmor=unconfined`; on a host: "
        "`sysctl kernel.unprivileged_userns_clone=1`.",
    ),
    (
        "no space left on device",
        "The machine's limit of namespaces is reached, or its disk is full.",
        "Raise `user.max_user_namespaces` (and its likes), or free some disk.",
    ),
    (
        "can't mount proc",
        "A fresh /proc cannot be mounted, because parts of this one are masked.",
        "In a container: `--security-opt systempaths=unconfined`.",
    ),
    (
        "pivot_root: invalid argument",
        "The root file system is an initramfs, which cannot be pivoted away from.",
        "Run in a chroot on a real file system, or in a container.",
    ),
    (
        "can't make overlay mount",
        "The folder of root filesystems lies on a file system that overlays cannot write to, "
        "as a container's own root is.",
        "Mount a volume and name it (SANDBOX_STATE_DIR).",
    ),
    (
        "unknown option",
        "This bubblewrap is too old.",
        "Install bubblewrap 0.8 or newer, or `pip install 'sandbox-service[bubblewrap]'`.",
    ),
    (
        "can't find source path",
        "Something that a sandbox must see cannot be reached by its user.",
        "Choose a state folder whose every parent is open to others (SANDBOX_STATE_DIR).",
    ),
    (
        "error while loading shared libraries",
        "This bubblewrap, or the interpreter for the agent, lacks libraries that it came with.",
        "Install it with the system's packages, or `pip install 'sandbox-service[bubblewrap]'`.",
    ),
    (
        "[errno 2]",
        "The bubblewrap that was named is not there.",
        "Correct its path in the settings, or leave it out.",
    ),
    (
        "without a word",
        "The program that was named as bubblewrap does not behave like one.",
        "Correct its path in the settings, or leave it out.",
    ),
    (
        "no module named",
        "The interpreter for the agent lacks a part of the standard library.",
        "Install the full package (on Debian `python3`, not `python3-minimal`).",
    ),
    (
        "permission denied",
        "A file that a sandbox needs may not be used by its user.",
        "See that the state folder is not mounted `noexec`, and its parents are open to others.",
    ),
)


def explain(
    failures: list[tuple[str, str]], others: Mapping[str, str] | None = None
) -> IsolationUnavailableError:
    """Make one error of what was tried.

    Args:
        failures: For each bubblewrap: where it comes from, and the complaint. The last
            is explained.
        others: Complaint of each isolation that was tried after that, by its name.
    """
    if not failures:
        return IsolationUnavailableError(
            "There is no bubblewrap (bwrap) on this machine, and without it nothing is isolated.",
            "Install it with the system's packages (`apt install bubblewrap`), or "
            "`pip install 'sandbox-service[bubblewrap]'`.",
        )
    words = "; ".join(f"bwrap from {origin}: {complaint}" for origin, complaint in failures)
    words += "".join(f"; {name}: {complaint}" for name, complaint in (others or {}).items())
    last = failures[-1][1].lower()
    for pattern, cause, fix in _ADVICE:
        if pattern in last:
            return IsolationUnavailableError(f"{cause} ({words})", fix)
    return IsolationUnavailableError(
        f"No sandbox could be started. ({words})",
        "Run `bwrap --unshare-user --ro-bind / / true` by hand to see what the system says.",
    )
