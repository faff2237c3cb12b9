"""One sandbox, as long as it exists: started, paused, resumed, ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.egress import ENVIRONMENT, EgressJournal
from sandbox_service.e2b_local.envd import Envd
from sandbox_service.e2b_local.fleet import copies
from sandbox_service.e2b_local.fleet.life import Life, SandboxGoneError
from sandbox_service.e2b_local.fleet.limits import tell_limits
from sandbox_service.e2b_local.fleet.ways_out import lead_out
from sandbox_service.e2b_local.machine import BootFailedError, GuestLostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox_service.e2b_local.egress import EgressProxy
    from sandbox_service.e2b_local.fleet.activity import Activity
    from sandbox_service.e2b_local.fleet.metering import Meter
    from sandbox_service.e2b_local.fleet.store import SandboxRecord
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import BootSpec, Guest, Machine

logger = logging.getLogger(__name__)

# How long an agent may take to show that it lives.
_ANSWER_SECONDS: Final = 10.0


class Sandbox:
    """One sandbox, as long as it exists.

    Whoever changes its state has the turn of its `life`.

    Args:
        machine: Starts it again.
        record: What clients are told of it.
        spec: What it was booted with, but for the files it had at first.
        guest: Its processes and files, just booted.
        activity: Its log.
        meter: Measures it while it runs.
        on_death: Called with a cause when it dies without having been told to.
        egress: Its way out, which leads to the guest already. None: there is none.

    Attributes:
        sandbox_id: Its id.
        life: The state it is in.
        guest: Its processes and files; another one after each boot.
        envd: What answers on its port 49983; another one after each boot.
        egress: Its way out. None: there is none.
        shelved: Whether it has files and no processes. `guest` is dead then.
        exchanges: Calls that are under way in it; they are cut when it stops.
    """

    def __init__(
        self,
        machine: Machine,
        record: SandboxRecord,
        spec: BootSpec,
        guest: Guest,
        activity: Activity,
        meter: Meter,
        on_death: Callable[[Sandbox, str], None],
        egress: EgressProxy | None = None,
    ) -> None:
        self.sandbox_id = record.sandbox_id
        self.life = Life(record.sandbox_id)
        self.activity = activity
        self.meter = meter
        self.egress = egress
        self._journal = EgressJournal(activity)
        if egress is not None:
            egress.journal = self._journal
        self.shelved = False
        self.exchanges: set[Exchange] = set()
        self._machine = machine
        self._record = record
        self._spec = spec
        self._on_death = on_death
        self._take(guest)
        meter.begin(guest)

    def _take(self, guest: Guest) -> None:
        record, template = self._record, self._record.template
        env = {
            "E2B_SANDBOX": "true",
            "E2B_SANDBOX_ID": record.sandbox_id,
            "E2B_TEMPLATE_ID": template.template_id,
            **({} if self.egress is None else ENVIRONMENT),
            **template.env,
            **record.env,
        }
        follow = self.activity.follow
        self.guest = guest
        tell_limits(guest, self.activity)
        self.envd = Envd(guest, env, record.access_token, template.cpu_count, follow)
        self.shelved = False

        def die(ended: asyncio.Future[str]) -> None:
            if self.guest is not guest or self.shelved or self.life.state == "gone":
                return  # That was meant.
            cause = "it was given up" if ended.cancelled() else ended.result()
            logger.warning("sandbox %s ended by itself: %s", self.sandbox_id, cause)
            self._on_death(self, cause)

        guest.ended.add_done_callback(die)

    async def answers(self) -> bool:
        """Whether its agent lives. Programs of the same user can stop it."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.guest.stat("/")
        except TimeoutError:
            return False
        return True

    async def hold(self, *, memory: bool) -> None:
        """Stop it where it stands, and cut whoever is in it.

        Args:
            memory: False: end its processes and keep only its files.

        Raises:
            GuestOSError: The machine could not do it. It goes on, but for the cut calls.
            GuestLostError: It has died.
        """
        self.life.move("pausing")
        self.meter.end()
        self.cut()
        try:
            if memory:
                self.envd.pause()
                if self.egress is not None:
                    self.egress.pause()
                await self.guest.freeze()
            else:
                await self._shelve()
        except OSError:
            self.envd.resume()
            if self.egress is not None:
                self.egress.resume()
            self.life.move("running")
            self.meter.begin(self.guest)
            raise
        self.tell_traffic()
        self.life.move("paused")

    async def _shelve(self) -> None:
        # From now on the end of its guest is not its own.
        self.shelved = True
        try:
            await self._machine.shelve(self.sandbox_id)
        except OSError:
            self.shelved = False
            raise
        except (GuestLostError, ValueError) as error:
            # It died before it could be put away: then there is none of its id.
            self._on_death(self, str(error))
            raise SandboxGoneError(self.sandbox_id) from error
        self.envd.close()
        if self.egress is not None:
            self.egress.close()

    async def go_on(self, *, memory: bool) -> None:
        """Let it go on after `hold`.

        Args:
            memory: False: start it anew on its files, though its programs were kept.

        Raises:
            BootFailedError: It did not start, and is held still.
            GuestOSError: The machine could not do it, and it is held still.
        """
        self.life.move("resuming")
        try:
            if memory and not self.shelved:
                await self.guest.thaw()
                self.envd.resume()
                if self.egress is not None:
                    self.egress.resume()
            else:
                if not self.shelved:
                    await self._shelve()
                self._take(await self._boot_again())
        except (BootFailedError, OSError):
            self.life.move("paused")
            raise
        self.life.move("running")
        self.meter.begin(self.guest)

    async def _boot_again(self) -> Guest:
        guest = await self._machine.boot(self.sandbox_id, self._spec)
        try:
            await lead_out(guest, self.egress)
        except BootFailedError:
            await self._shelve()  # Its files are kept.
            raise
        return guest

    async def archive(self, folder: Path) -> Path:
        """Copy its files, be it held or not. Its programs stand still meanwhile.

        Raises:
            GuestOSError: They could not be archived.
            BootFailedError: It is shelved, and could not be started for that.
            GuestLostError: It has died.
        """
        if not self.shelved or self._spec.image is not None:
            return await copies.take(self._machine, self.sandbox_id, folder)
        # Only a sandbox can read what belongs to one, so it runs for a moment.
        self.guest = await self._machine.boot(self.sandbox_id, self._spec)
        try:
            return await copies.take(self._machine, self.sandbox_id, folder)
        finally:
            await self._put_back()

    async def _put_back(self) -> None:
        """Shelve it again. Where that fails, as on a full disk, hold it with its processes."""
        guest = self.guest
        try:
            await self._shelve()
        except OSError as error:
            logger.warning("sandbox %s keeps its processes: %s", self.sandbox_id, error)
            self._take(guest)
            self.envd.pause()
            await guest.freeze()

    def cut(self) -> None:
        """End all calls that are under way in it."""
        for exchange in list(self.exchanges):
            exchange.wire.abort()

    def tell_traffic(self) -> None:
        """Note in its log what went out of it and came back, if that is not told yet."""
        if self.egress is not None:
            self._journal.sums(self.egress.counts)

    def close(self) -> None:
        """Let go of it: it ends."""
        self.meter.end()
        self.cut()
        self.envd.close()
        if self.egress is not None:
            self.egress.close()

    async def kill(self) -> None:
        """End it, whoever has the turn; returns when nothing of it is left."""
        # Whoever is in the middle of changing its state fails by this.
        await self.guest.kill()
        async with self.life.last_turn():
            # It may have been booted anew, or put on the shelf, meanwhile.
            await self.guest.kill()
            await self._machine.discard(self.sandbox_id)
