"""Keithley 2400 (RS-232) and 2450 (TCP port 5025) source-measure units.

Sources: Series 2400 user's manual, 2400S-900-01, section 18 (commands), p. 18-50 (status word),
appendix B (errors), through a third party's digest, PyMeasure 0.16 and labmcp-keithley-smu 0.1.2;
Model 2450 reference manual, 2450-901-01, section 6. The 2400 has 9600 8N1 and ends messages as its
menu says (CR as delivered); the 2450 must have its SCPI command set (`*LANG?`).

Not used: sweeps, buffers, triggers and limit tests of its own (a plan steps the level and reads),
auto ohms (the resistance is volts by amperes of one reading), handler port.
"""

from typing import ClassVar, Literal

from sdl.drivers.keithley.scpi import NUMBER
from sdl.drivers.keithley.source import OTHER, SHORT, Measured, Source, SourceMeter
from sdl.errors import ConfigError, RefusedError
from sdl.wires import StreamWire

COMPLIANCE = 1 << 3  # in the status word of the 2400
ENDS = {"CR": b"\r", "LF": b"\n", "CRLF": b"\r\n"}


class Keithley2400(SourceMeter):
    """A Model 2400."""

    title: ClassVar[str] = "Keithley 2400, source-measure unit"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=9600"
    unverified: ClassVar[tuple[str, ...]] = (
        "CR as the terminator it is delivered with",
        "FETCh? after READ? in one message gives the same reading on one line",
        "what a message that ends in an error has answered before is sent",
    )
    model: ClassVar[str] = "2400"

    def __init__(
        self,
        wire: StreamWire,
        *,
        limit: float,
        source: Source = "voltage",
        most: float | None = None,
        four_wire: bool = False,
        terminator: Literal["CR", "LF", "CRLF"] = "CR",
        tags: bool = True,
        name: str = "",
    ) -> None:
        """Describe a 2400.

        :param limit: compliance: A where voltage is sourced, V where current is.
        :param source: what is sourced.
        :param most: V or A of either sign that may be set, to allow less than it can source.
        :param four_wire: whether it senses at the sample, with leads of their own.
        :param terminator: as its menu says (MENU, COMMUNICATION, RS-232, TERMINATOR).
        :param tags: False for software that plays a 2400 and knows no compound messages.
        :raises ConfigError: one of them is impossible.
        """
        if terminator not in ENDS:
            raise ConfigError(f"Keithley2400: terminator={terminator!r}; allowed is CR, LF or CRLF")
        self.limit_question = f":SENS:{SHORT[OTHER.get(source, 'current')]}:PROT?"
        self.four_wire_header = ":SYST:RSEN"
        super().__init__(
            wire,
            limit=limit,
            source=source,
            most=most,
            four_wire=four_wire,
            tags=tags,
            end=ENDS[terminator],
            name=name,
        )

    async def configure(self) -> None:
        q = self.quantity
        commands = (
            f":SOUR:{q}:MODE FIX;:SOUR:{q}:RANG:AUTO ON",
            ':SENS:FUNC:CONC ON;:SENS:FUNC "VOLT","CURR"',
            ":ARM:COUN 1;:TRIG:COUN 1;:ARM:SOUR IMM;:TRIG:SOUR IMM;:SOUR:CLE:AUTO OFF",
        )
        await self.tell(";".join(commands), f":SOUR:{q}:RANG:AUTO?", "1")

    async def measure_on(self) -> Measured:
        answer = ",".join((NUMBER,) * 3)
        said = await self.scpi.ask(
            ":READ?",
            answer,
            before=":FORM:ELEM VOLT,CURR,STAT",
            again=":FETC?",
            timeout=self.patience,
        )
        volts, amps, status = said.split(",")
        limited = bool(int(float(status)) & COMPLIANCE)
        return Measured(self.number(volts, "voltage"), self.number(amps, "current"), limited)


class Keithley2450(SourceMeter):
    """A Model 2450 with its SCPI command set."""

    title: ClassVar[str] = "Keithley 2450, source-measure unit"
    delivered: ClassVar[str] = "tcp://10.0.0.7:5025"
    unverified: ClassVar[tuple[str, ...]] = (
        "FETCh? after READ? in one message gives the same reading on one line",
        "what a message that ends in an error has answered before is sent",
        "how many digits it answers settings with",
    )
    model: ClassVar[str] = "2450"

    def __init__(
        self,
        wire: StreamWire,
        *,
        limit: float,
        source: Source = "voltage",
        most: float | None = None,
        four_wire: bool = False,
        tags: bool = True,
        name: str = "",
    ) -> None:
        """Describe a 2450. Parameters: see `Keithley2400`.

        :raises ConfigError: one of them is impossible.
        """
        self.limit_question = ":SOUR:VOLT:ILIM?" if source == "voltage" else ":SOUR:CURR:VLIM?"
        self.four_wire_header = f":SENS:{SHORT[OTHER.get(source, 'current')]}:RSEN"
        super().__init__(
            wire,
            limit=limit,
            source=source,
            most=most,
            four_wire=four_wire,
            tags=tags,
            end=b"\n",
            name=name,
        )

    async def check_identity(self) -> None:
        await super().check_identity()
        try:
            language = await self.scpi.ask("*LANG?", r"[A-Z0-9]{3,8}")
        except RefusedError:
            language = "something else"
        if language != "SCPI":
            way = "send *LANG SCPI, or choose it in its menu, and switch it off and on"
            raise ConfigError(f"{self.name}: it speaks {language}: {way}")

    async def configure(self) -> None:
        q, measured = self.quantity, self.measured
        commands = (
            f":SOUR:{q}:RANG:AUTO ON;:SOUR:{q}:READ:BACK ON",
            f':SENS:FUNC "{measured}";:SENS:COUN 1',
        )
        await self.tell(";".join(commands), f":SOUR:{q}:RANG:AUTO?", "1")

    async def measure_on(self) -> Measured:
        elements = '"defbuffer1",SOUR,READ'
        said = await self.scpi.ask(
            f":READ? {elements}",
            f"{NUMBER}, ?{NUMBER}",
            before=f':SENS:FUNC "{self.measured}"',
            again=f":FETC? {elements}",
            timeout=self.patience,
        )
        limited = await self.scpi.ask(f"{self.limit_question[:-1]}:TRIP?", "[01]") == "1"
        sourced, measured = (each.strip() for each in said.split(","))
        volts, amps = (sourced, measured) if self.source == "voltage" else (measured, sourced)
        return Measured(self.number(volts, "voltage"), self.number(amps, "current"), limited)
