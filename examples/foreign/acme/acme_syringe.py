"""What a vendor ships: a Python package that blocks. It is pretended, and a syringe pump too.

A real one comes with `pip install`, wants its calls from one thread, and sometimes hangs.
"""

import threading
import time

FASTER = 20.0  # times as fast as a real one would be


class AcmeError(Exception):
    """Anything that went wrong in there."""


class StalledError(AcmeError):
    """The plunger does not move."""


class SyringePump:
    """Made by `connect`; not for two threads."""

    def __init__(self, port: str) -> None:
        self.port, self.volume_uL, self.rate = port, 0.0, 1000.0
        self._owner, self._stopped = threading.get_ident(), threading.Event()

    def version(self) -> str:
        self._check()
        return "ACME SP-1 firmware 3.2"

    def dispense(self, microlitres: float) -> None:
        """Block until it has been dispensed."""
        self._check()
        if self.volume_uL + microlitres > 10_000:
            raise StalledError("the syringe is empty")
        self._stopped.clear()
        seconds = 60 * microlitres / self.rate / FASTER
        began = time.monotonic()
        stopped = self._stopped.wait(seconds)
        part = min(1.0, (time.monotonic() - began) / seconds) if stopped and seconds else 1.0
        self.volume_uL += part * microlitres

    def stop(self) -> None:
        """End a `dispense`; the one call that any thread may make."""
        self._stopped.set()

    def close(self) -> None:
        self._check()

    def _check(self) -> None:
        if threading.get_ident() != self._owner:
            raise AcmeError("called from another thread")


def connect(port: str) -> SyringePump:
    """Open a pump."""
    time.sleep(0.01)
    return SyringePump(port)
