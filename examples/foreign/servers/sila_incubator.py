"""A SiLA 2 server: an incubator that is not there. `python sila_incubator.py PORT`

It is what somebody's instrument would bring along, written with `sila2` and nothing of ours.
"""
# pyright: basic, reportMissingImports=false

import math
import sys
import time
from pathlib import Path
from queue import Queue
from typing import Any

from sila2.framework import DefinedExecutionError, Feature
from sila2.server import FeatureImplementationBase, SilaServer

INCUBATOR = Feature((Path(__file__).parent / "Incubator.sila.xml").read_text("utf-8"))
FASTER = 20.0  # times as fast as a real one would be
BEST = 310.15  # K, where most grows


class LidOpenError(DefinedExecutionError):
    def __init__(self) -> None:
        super().__init__(INCUBATOR.defined_execution_errors["LidOpen"], "close the lid first")


class Incubator(FeatureImplementationBase):
    """Method names are those of the feature, as `sila2` wants them."""

    def __init__(self, parent_server: SilaServer) -> None:
        super().__init__(parent_server)
        self._Temperature_producer_queue: Queue[float] = Queue()
        self.temperature, self.speed, self.lid_open, self.resting = 293.15, 0, False, False
        self._Temperature_producer_queue.put(self.temperature)

    def Temperature_on_subscription(self, *, metadata: Any) -> None:  # noqa: N802
        """Everybody gets the same values."""

    def get_ShakingSpeed(self, *, metadata: Any) -> int:  # noqa: N802
        return self.speed

    def SetTemperature(self, target: float, *, metadata: Any) -> None:  # noqa: N802
        self._check_lid()
        self.temperature = target + 273.15
        self._Temperature_producer_queue.put(self.temperature)

    def Incubate(self, seconds: float, *, metadata: Any, instance: Any) -> float:  # noqa: N802
        self._check_lid()
        self.speed, self.resting = 300, False
        instance.begin_execution()
        began = time.monotonic()
        while (part := (time.monotonic() - began) * FASTER / seconds) < 1 and not self.resting:
            instance.progress = part
            time.sleep(0.02)
        self.speed = 0
        if self.resting:
            raise RuntimeError("it was told to rest")
        return math.exp(-(((self.temperature - BEST) / 10) ** 2))

    def Shake(self, *, metadata: Any) -> None:  # noqa: N802
        self.speed, self.resting = 300, False
        while not self.resting:
            time.sleep(0.02)

    def Rest(self, *, metadata: Any) -> None:  # noqa: N802
        self.speed, self.resting = 0, True

    def OpenLid(self, *, metadata: Any) -> None:  # noqa: N802
        self.lid_open = True

    def _check_lid(self) -> None:
        if self.lid_open:
            raise LidOpenError


def main(port: int) -> None:
    server = SilaServer(
        server_name="Incubator that is not there",
        server_type="ExampleIncubator",
        server_description="For trying a client",
        server_version="1.2",
        server_vendor_url="https://example.org",
    )
    server.set_feature_implementation(INCUBATOR, Incubator(server))
    server.start_insecure("127.0.0.1", port, enable_discovery=False)
    print("ready", flush=True)  # noqa: T201
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50052)
