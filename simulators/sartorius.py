"""A Sartorius balance that speaks SBI.

Written from the Cubis MSE operating instructions, pp. 69-72 (16 and 22 characters, special outputs,
commands), and the Entris II interface description. Guesses: what is no command is not answered; a
restart takes 2 s; the keys of the draft shield and of the menu do nothing that could be heard;
while it is adjusted it says Cal.Int. in the place where the manual has Cal.Ext.
"""

import asyncio
from typing import ClassVar, Literal

import numpy as np

from sdl.simulators.simulated import LineSimulator
from sdl.simulators.weighing import ZERO_RANGE, Load, WeighingCell

ESCAPE = 0x1B
RESTARTING = 2.0  # s
ADJUSTING = 20.0  # s
WIDTHS = {16: 14, 22: 20}
FILTERS = {"K": 0.5, "L": 1.0, "M": 2.0, "N": 4.0}  # s that it takes to settle, by filter
LONGEST = 20  # characters of a command


class SimulatedSartorius(LineSimulator):
    """An analytical balance with an internal weight; it weighs in g."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "drift", "noise", "saturation", "power cycle"}
    )

    def __init__(
        self,
        part: Load,
        *,
        rng: np.random.Generator,
        capacity: float = 220.0,
        decimals: int = 4,
        characters: Literal[16, 22] = 22,
        model: str = "MSE224S-000-DU",
        serial_number: str = "0037402012",
        software: str = "00-37-09",
        legacy: bool = False,
        waits: bool = False,
        noise: bool = True,
    ) -> None:
        """Describe a balance.

        :param capacity: g.
        :param decimals: of a gram.
        :param characters: of a line, its end included: 22 with an identification before the weight.
        :param legacy: an older one, which has only the TARE key.
        :param waits: whether it prints only when the weight is stable (a setting in its menu).
        """
        super().__init__(rng=rng)
        self.cell = WeighingCell(
            part, self, capacity=capacity, decimals=decimals, noise=noise, settling=FILTERS["L"]
        )
        self._width, self._legacy, self._waits = WIDTHS[characters], legacy, waits
        self._information = {1: model, 2: serial_number, 3: software, 4: "00-20-12", 5: ""}
        self.filter = "L"
        self.keys_blocked = False
        self.adjustments = 0
        self._deaf_until = self._adjusted_at = 0.0

    def begin(self, fault: str, size: float = 1.0) -> None:
        if fault == "power cycle":
            self._restart()
            return
        super().begin(fault, size)

    async def powered(self) -> None:
        self.cell.power_up()

    def _restart(self) -> None:
        self.forget()
        self.cell.power_up()
        self.keys_blocked = False
        self._deaf_until = _now() + RESTARTING

    def whole(self, heard: bytes) -> int | None:
        """A command ends as soon as it is one: CR LF behind it is optional."""
        start = heard.find(ESCAPE)
        if start != 0:
            return (len(heard) or None) if start < 0 else start
        if len(heard) < 2:
            return None
        if heard[1:2].isupper() or heard[1:2] in b"?@":
            return 2
        end, again = heard.find(b"_", 2), heard.find(ESCAPE, 1)
        if again > 0 and (end < 0 or again < end):
            return again
        if end >= 0:
            return end + 1
        line = heard.find(b"\r", 1)
        if line >= 0:
            return line + 1
        return len(heard) if len(heard) > LONGEST else None

    async def respond(self, request: bytes) -> None:
        if request[0] != ESCAPE or _now() < self._deaf_until:
            return
        command = request[1:].decode("latin-1")
        if command in ("P", "kP_", "p_"):
            await self._print()
        elif command[:1] == "x" and command[1:-1] in ("1", "2", "3", "4", "5"):
            await self.say(f"{self._information[int(command[1])]}\r\n".encode())
        elif command in ("Z", "x0_", "f1_") and not self._is_busy:
            self._adjusted_at = _now() + ADJUSTING
            self.adjustments += 1
        elif command in FILTERS:
            self.filter = command
            self.cell.settling = FILTERS[command]
        elif command in ("O", "R"):
            self.keys_blocked = command == "O"
        elif command == "S":
            self._restart()
        else:
            self._press(command)

    def _press(self, command: str) -> None:
        keys = {"T": "T", "U": "U", "V": "V", "f4_": "U", "f3_": "V"}
        if command not in keys or self._is_busy or (self._legacy and command != "T"):
            return
        look = self.cell.look()
        if look.range:
            return
        if keys[command] == "V" or (keys[command] == "T" and self._is_nearly_empty):
            self.cell.take_zero(look)
        else:
            self.cell.take_tare(look)

    @property
    def _is_busy(self) -> bool:
        return _now() < self._adjusted_at or "busy" in self.troubles

    @property
    def _is_nearly_empty(self) -> bool:
        look = self.cell.look()
        return abs(self.cell.zero_point + look.gross) <= ZERO_RANGE * self.cell.capacity

    async def _print(self) -> None:
        while True:
            look = self.cell.look()
            if look.stable or look.range or self._is_busy or not self._waits:
                break
            await asyncio.sleep(0.1)
        if _now() < self._adjusted_at:
            await self.say(self._line_of("Stat", "   Cal.Int."))
        elif self._is_busy:
            await self.say(self._line_of("Stat", "      --"))
        elif look.range:
            await self.say(self._line_of("Stat", "      High" if look.range > 0 else "      Low"))
        else:
            sign, size = "-" if look.net < 0 else "+", abs(look.net)
            unit = "g" if look.stable else ""
            weight = f"{sign} {size:8.{self.cell.decimals}f} {unit:<3}"
            await self.say(self._line_of("N", weight))

    def _line_of(self, what: str, body: str) -> bytes:
        line = f"{what:<6}{body:<14}"
        return f"{line[-self._width :]}\r\n".encode()


def _now() -> float:
    return asyncio.get_running_loop().time()
