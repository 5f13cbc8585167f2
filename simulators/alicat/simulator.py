"""An Alicat MC mass-flow or PC pressure controller that answers as its manuals say.

Written from the MC manual, pp. 40-43, the Standard Devices manual, p. 32, and the BC manual, p. 10;
formats as captured from instruments (`alicat.tables`). Ramps and batches are told, not made.
"""

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.alicat import tables
from sdl.simulators.alicat.measuring import LOOPS, Measuring
from sdl.simulators.alicat.tables import GASES, Number
from sdl.simulators.parts.gas_line import GasPart, Valve
from sdl.simulators.simulated import LineSimulator

THINKING = (0.0015, 0.004)  # s from the end of a command to the answer's beginning
BOOTING = 1.0  # s without ears after the power came back
WHOLE = 64000  # full scale as a whole number
FIRST_MIXTURE, LAST_MIXTURE = 236, 255
LONGEST_GAS, LONGEST = 6, 80  # characters of a gas, and of a command


class NotUnderstood(Exception):  # noqa: N818 (it is the instrument's answer, not an error of ours)
    """The answer is `?`."""


class SimulatedAlicat(LineSimulator):
    """One controller on a line that it may share with others."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"stuck", "drift", "noise", "saturation", "power cycle", "local mode"}
    )
    longest: ClassVar[int] = 128

    def __init__(
        self,
        part: GasPart,
        *,
        rng: np.random.Generator,
        unit: str = "A",
        controls: Literal["flow", "pressure"] = "flow",
        full_scale: float = 500.0,
        totalizer: bool = False,
        reference: float = 25.0,
        model: str = "",
        firmware: str = "10v20.0-R24",
        noise: bool = True,
    ) -> None:
        """Describe a controller.

        :param full_scale: sccm, or, of a pressure controller, bar.
        :param reference: degC that its standard flows mean.
        """
        super().__init__(rng=rng)
        self._part, self._unit = part, unit
        kind = "PC" if controls == "pressure" else "MC"
        self._model = model or f"{kind}-{full_scale:g}{'BARA' if kind == 'PC' else 'SCCM'}-D"
        version = re.match(r"(\d+)v(\d\d)", firmware)
        self._firmware = firmware
        self._version = (int(version[1]), int(version[2])) if version else (0, 0)
        self._measuring = Measuring(
            part,
            self,
            controls=controls,
            full_scale=full_scale,
            totalizer=totalizer,
            reference=reference,
            firmware=self._version[0],
            noise=rng if noise else None,
        )
        self._gases = dict(GASES)
        self._interval, self._locked = 0.05, False
        self._registers = {20: 0, 21: 100, 22: 5000, 23: 0, 85: 1, 91: 50}
        self._ramp, self._batch, self._ramping = (0.0, 4), 0.0, "0 0 0 0"
        self._deaf_until = 0.0
        self._commands: list[tuple[str, Callable[..., str | list[str]]]] = [
            (r"", self._frame),
            (r"S *([+-]?\d*\.?\d+|\d+\.)", self._set),
            (r"(\d{1,5})", self._set_whole),
            (r"LS *([+-]?\d*\.?\d+)?", self._setpoints),
            (r"LSS(?: ([SAU])(?: [01])?)?", self._source),
            (r"LV(?: (\d{1,5}))?", self._loop_variable),
            (r"G *(\d{1,3})", self._select),
            (r"GS(?: (\d{1,3})(?: [01])?)? *", self._select_now),
            (r"GM ([!-~]+) (\d{3})((?: \d+\.?\d* \d{1,3})+)", self._mix),
            (r"GD *(\d+)", self._unmix),
            (r"W(\d{1,3})=(\d{1,5})", self._write),
            (r"R(\d{1,3})", self._read),
            (r"V", self._tare),
            (r"PC?", self._frame),  # its pressure needs no tare
            (r"HP|H", lambda: self._hold("held")),
            (r"HC", lambda: self._hold("closed")),
            (r"C", lambda: self._hold("control")),
            (r"L", lambda: self._lock(True)),
            (r"U", lambda: self._lock(False)),
            (r"T(?: ?1)?", self._reset_total),
            (r"VE", lambda: f"{self._unit}   {self._firmware} Jan  9 2025,15:04:07"),
            (r"\?\?M(\*|[0-9])", self._information),
            (r"\?\?D\*", self._columns_table),
            (r"\?\?G\*", self._gas_table),
            (r"FPF (\d+)", self._full_scale_of),
            (r"DCU (\d+)", self._unit_of),
            (r"DV (\d+)((?: \d+)+)", self._values),
            (r"VD", self._drive),
            (r"NCS(?: (\d+))?", self._interval_of),
            (r"SR(?: (\d*\.?\d+) ([3-7]))?", self._ramp_rate),
            (r"LSRC(?: ([01] [01] [01] [01]))?", self._ramping_when),
            (r"TB 1(?: (\d*\.?\d+)(?: \d+)?)?", self._batch_of),
            (r"@[ =]([A-Z@])", self._rename),
        ]

    # Life

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "stuck":
            self._part.stuck = True
        if fault == "power cycle":
            self.power_cycle()

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "stuck":
            self._part.stuck = False

    def power_cycle(self) -> None:
        """Cut the power for a moment: setpoint, hold, tare and total are gone."""
        self.forget()
        self._part.setpoint, self._part.valve = 0.0, "control"
        self._measuring.forget_tare()
        self._measuring.reset_total()
        self._deaf_until = asyncio.get_running_loop().time() + BOOTING

    async def serve(self, line: Line) -> None:
        streaming = asyncio.create_task(self._stream(line))
        try:
            await super().serve(line)
        finally:
            streaming.cancel()

    async def _stream(self, line: Line) -> None:
        """Say data frames without a letter, as long as the letter is `@`."""
        while True:
            await asyncio.sleep(self._interval)
            if self._unit == "@":
                await line.write(self._frame()[1:].encode() + b"\r")

    async def respond(self, request: bytes) -> None:
        if asyncio.get_running_loop().time() < self._deaf_until:
            return
        lines = self._understood(request.decode("latin-1").strip("\r\n ").upper())
        if lines:
            await asyncio.sleep(self.rng.uniform(*THINKING))
            await self.say(b"".join(line.encode("latin-1") + b"\r" for line in lines))

    def _understood(self, text: str) -> list[str]:
        if self._unit == "@":  # it streams, and hears nothing but that it should not
            if match := re.fullmatch(r"@@[ =]?([A-Z])", text):
                self._unit = match[1]
            return []
        if text[:1] not in (self._unit, "*"):
            return []
        text = re.sub(r"^\$\$", "", text[1:].lstrip())
        if len(text) > LONGEST:
            return ["?"]
        for pattern, do in self._commands:
            if (match := re.fullmatch(pattern, text)) is not None:
                try:
                    answer = do(*match.groups())
                except NotUnderstood:
                    return ["?"]
                return [answer] if isinstance(answer, str) else answer
        return ["?"]

    def _since(self, major: int, minor: int = 0) -> None:
        if self._version < (major, minor):
            raise NotUnderstood

    def _frame(self) -> str:
        measuring = self._measuring
        numbers = [each.show(measuring.value(each.statistic)) for each in measuring.columns()]
        gas = [f"{self._part.gas[:LONGEST_GAS]:>{self._gas_width}}"] if self._gas_width else []
        flags = {
            "MOV": measuring.out_of_range,
            "HLD": self._part.valve != "control",
            "LCK": self._locked,
        }
        set_flags = [flag for flag in tables.CONDITIONS if flags.get(flag)]
        return " ".join([self._unit, *numbers, *gas, *set_flags])

    @property
    def _gas_width(self) -> int:
        return tables.gas_width(self._version[0]) if self._measuring.of_flow else 0

    def _number(self, statistic: int) -> Number:
        found = self._measuring.find(statistic)
        if found is None:
            raise NotUnderstood
        return found

    # Setpoints and valves

    def _set(self, value: str | float) -> str:
        """Take a setpoint; of nobody while another source has the say."""
        if "local mode" not in self.troubles:
            self._measuring.setpoint = float(value)
        return self._frame()

    def _set_whole(self, number: str) -> str:
        return self._set(self._measuring.most(self._measuring.loop) * int(number) / WHOLE)

    def _setpoints(self, value: str | None) -> str:
        if self._version < (9, 0):
            return self._frame()
        if value is not None:
            self._set(value)
        column = self._number(self._measuring.loop)
        shown = column.show(self._measuring.setpoint)
        return f"{self._unit} {shown} {shown} {column.code} {column.unit}"

    def _source(self, source: str | None) -> str:
        self._since(10, 5)
        if source is not None:
            self.end("local mode") if source != "A" else self.begin("local mode")
        return f"{self._unit} {'A' if 'local mode' in self.troubles else 'S'}"

    def _loop_variable(self, loop: str | None) -> str:
        self._since(9)
        if loop is not None:
            self._choose_loop(int(loop))
        return f"{self._unit} {self._measuring.loop}"

    def _choose_loop(self, loop: int) -> None:
        if loop not in LOOPS:
            raise NotUnderstood
        self._measuring.loop = loop

    def _hold(self, valve: Valve) -> str:
        self._since(5)
        self._part.valve = valve
        return self._frame()

    def _lock(self, locked: bool) -> str:
        self._locked = locked
        return self._frame()

    def _tare(self) -> str:
        self._measuring.tare()
        return self._frame()

    def _reset_total(self) -> str:
        self._measuring.reset_total()
        return self._frame()

    # Gases

    def _select(self, number: str) -> str:
        if int(number) not in self._gases or not self._measuring.of_flow:
            raise NotUnderstood
        self._part.gas = self._gases[int(number)]
        return self._frame()

    def _select_now(self, number: str | None) -> str:
        self._since(10, 5)
        if number is not None:
            self._select(number)
        gas = self._part.gas
        return f"{self._unit} {self._gas_number} {gas} {tables.LONG_NAMES.get(gas, gas)}"

    @property
    def _gas_number(self) -> int:
        return next((n for n, gas in self._gases.items() if gas == self._part.gas), 0)

    def _mix(self, name: str, number: str, parts: str) -> str:
        self._since(5)
        each = parts.split()
        shares, gases = [float(share) for share in each[::2]], [int(gas) for gas in each[1::2]]
        known = all(gas in GASES for gas in gases) and abs(sum(shares) - 100) < 0.01
        if not known or not FIRST_MIXTURE <= int(number) <= LAST_MIXTURE:
            raise NotUnderstood
        self._gases[int(number)] = name[:LONGEST_GAS]
        contents = " ".join(f"{s:.2f}% {GASES[g]}" for s, g in zip(shares, gases, strict=True))
        return f"{self._unit} {number} {contents}"

    def _unmix(self, number: str) -> str:
        self._since(5)
        if len(number) > 3 or int(number) not in set(self._gases) - set(GASES):
            raise NotUnderstood
        del self._gases[int(number)]
        return f"{self._unit} {number}"

    def _gas_table(self) -> list[str]:
        if not self._measuring.of_flow:
            raise NotUnderstood
        return [f"{self._unit} G{n:02d} {gas:>8}" for n, gas in sorted(self._gases.items())]

    # Registers and tables

    def _read(self, number: str) -> str:
        register = int(number)
        kept = {122: self._measuring.loop, 46: self._gas_number}
        value = kept.get(register, self._registers.get(register, 0))
        return f"{self._unit}   {register:03d} = {value}"

    def _write(self, number: str, value: str) -> str:
        register = int(number)
        if register == 122:
            self._choose_loop(int(value))
        elif register == 46:
            self._select(str(int(value) & 0x1FF))
        elif register == 91:
            self._interval_of(value)
        self._registers[register] = int(value)
        return self._read(number)

    def _interval_of(self, milliseconds: str | None) -> str:
        if milliseconds is not None:
            self._interval = max(int(milliseconds[:6]), 1) / 1000
        return f"{self._unit} {round(self._interval * 1000)}"

    def _ramp_rate(self, rate: str | None, time: str | None) -> str:
        self._since(7, 11)
        if rate is not None and time is not None:
            self._ramp = float(rate), int(time)
        column = self._number(self._measuring.loop)
        per = {3: "ms", 4: "s", 5: "m", 6: "h", 7: "d"}[self._ramp[1]]
        unit = f"{column.code} {self._ramp[1]} {column.unit}/{per}"
        return f"{self._unit} {self._ramp[0]:.7f} {unit}"

    def _ramping_when(self, when: str | None) -> str:
        self._since(10, 5)
        self._ramping = when or self._ramping
        return f"{self._unit} {self._ramping}"

    def _batch_of(self, volume: str | None) -> str:
        self._since(10)
        self._number(tables.TOTAL)
        self._batch = self._batch if volume is None else float(volume)
        return f"{self._unit} 1 {self._batch:.2f} 3 SmL"

    def _information(self, which: str) -> list[str]:
        rows = tables.information(self._unit, self._model, self._firmware)
        return rows if which == "*" else [rows[int(which)]]

    def _columns_table(self) -> list[str]:
        table = tables.columns_table if self._version >= (6, 0) else tables.old_columns_table
        return table(self._unit, self._measuring.columns(), gas=self._gas_width)

    def _full_scale_of(self, statistic: str) -> str:
        self._since(6)
        kind = int(statistic[:4])
        column = self._measuring.find(kind)
        if column is None:
            return f"{self._unit} +0 1 ---"
        most = column.show(self._measuring.most(kind))
        return f"{self._unit} {most} {column.code} {column.unit}"

    def _unit_of(self, statistic: str) -> str:
        self._since(10, 5)
        column = self._number(int(statistic[:4]))
        return f"{self._unit} {column.code} {column.unit}"

    def _values(self, milliseconds: str, statistics: str) -> str:
        """Answer without the letter; what it does not measure is `--`."""
        wanted = [int(each[:4]) for each in statistics.split()]
        if int(milliseconds[:6]) == 0 or len(wanted) > 13:
            raise NotUnderstood
        columns = [(each, self._measuring.find(each)) for each in wanted]
        return " ".join(
            "--" if column is None else column.show(self._measuring.value(each))
            for each, column in columns
        )

    def _drive(self) -> str:
        self._since(8, 18)
        share = self._measuring.setpoint / self._measuring.most(self._measuring.loop)
        drive = 0.0 if self._part.valve == "closed" else 100 * share
        return f"{self._unit} {drive:+07.2f} +000.00 +000.00 +000.00"

    def _rename(self, letter: str) -> list[str]:
        self._unit = letter
        return []
