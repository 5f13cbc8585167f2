"""ACME SP-1 syringe pump over ACME's own Python package, which blocks (both are pretended).

The package counts what it has dispensed, so a dose whose end was not heard can be looked up.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ophyd_async.core import AsyncStatus, StandardReadableFormat

from sdl.errors import FaultError, InstrumentError
from sdl.instrument import Effect, Finding, Verdict, check_limits
from sdl.instrument.blocking import Blocking
from sdl.instrument.unwired import Unwired

sys.path.append(str(Path(__file__).parents[1] / "acme"))  # a real one: pip install acme-syringe
acme = importlib.import_module("acme_syringe")

LONGEST = 600.0  # s, for one dose
RESOLUTION = 1e-3  # mL


class AcmePump(Unwired):
    """Dispenses: `set(volume)` in mL, at `rate` in mL/min. Safe is stopped."""

    title = "ACME SP-1, syringe pump"
    effect = Effect.RELATIVE

    def __init__(self, port: str, *, timeout: float = 5.0, name: str = "") -> None:
        """:param timeout: s for one call, a dose apart."""
        self._sdk = Blocking(
            name,
            lambda: acme.connect(port),
            close=lambda pump: pump.close(),
            timeout=timeout,
            errors={acme.StalledError: FaultError},
        )
        self._stops = 0
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.dispensed = self._sdk.poll_r(
                float, "dispensed", lambda pump: pump.volume_uL / 1000, units="mL", precision=3
            )
        with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
            self.rate = self._sdk.poll_rw(
                float,
                "rate",
                lambda pump: pump.rate / 1000,
                lambda pump, value: setattr(pump, "rate", value * 1000),
                units="mL/min",
                limits=(0.01, 10.0),
            )
        super().__init__(name=name)

    async def _open(self) -> None:
        await self._sdk.open()

    async def _close(self) -> None:
        await self._sdk.close()

    async def identify(self) -> str:
        return await self._sdk.call("who are you", lambda pump: pump.version())

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Dispense `value` mL; sent once.

        :raises FaultError: the plunger is stuck.
        :raises NoReplyError: nobody knows; ask `dispensed`.
        """
        check_limits(value, (0.0, 10.0), self.name, "mL")
        if self.mocked:
            return
        stops = self._stops
        await self._sdk.call(
            f"dispense {value:g} mL", lambda pump: pump.dispense(value * 1000), timeout=LONGEST
        )
        if stops != self._stops:
            raise InstrumentError(self.name, f"dispense {value:g} mL: stopped before it was done")

    async def halt(self) -> None:
        """Stop at once: ACME says that `stop` may be called beside a call that blocks."""
        self._stops += 1
        if not self.mocked:
            await self._sdk.aside("stop", lambda pump: pump.stop())

    async def make_safe(self) -> None:
        """Stop. Errors: the package did not take it."""
        await self.halt()

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        return {"dispensed": await self.dispensed.get_value()}

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Compare what was dispensed; the question waits until no call is under way."""
        after = await self.dispensed.get_value()
        given = after - mark["dispensed"]
        said = f"dispensed {mark['dispensed']:.3f} -> {after:.3f} mL"
        if abs(given) < RESOLUTION:
            return Finding(Verdict.NOT_DONE, said)
        if abs(given - argument) < RESOLUTION:
            return Finding(Verdict.DONE, said)
        if 0 < given < argument:
            return Finding(Verdict.PARTLY, said, rest=round(argument - given, 3))
        return Finding(Verdict.UNKNOWN, said)


acme_pump = AcmePump
