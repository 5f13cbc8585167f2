"""A script that runs on a potentiostat: its variables, its time, and the packages that it sends."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sdl.simulators.emstat.cell import Potentiostat, Value
from sdl.simulators.emstat.script import Program, ScriptError, Statement, value_of
from sdl.simulators.emstat.techniques import TECHNIQUES

TINY = 1e-3  # s that a turn of a loop takes at least


class Aborted(Exception):  # noqa: N818 (it is no error)
    pass


class _Broken(Exception):  # noqa: N818
    pass


class Run:
    """One script, while it runs. It is told from outside to abort, to halt and to go on."""

    def __init__(
        self, program: Program, stat: Potentiostat, say: Callable[[str], Awaitable[None]]
    ) -> None:
        self._program, self._stat, self._say = program, stat, say
        self._values: dict[str, Value] = {}
        self._package: list[str] | None = None
        self._clock = asyncio.get_running_loop().time
        self._timer = self._clock()
        self._stopped, self._goes_on = asyncio.Event(), asyncio.Event()
        self._goes_on.set()
        self._ends_loop = self._finishing = False

    def abort(self) -> None:
        self._stopped.set()
        self._goes_on.set()

    def halt(self, halted: bool) -> None:
        if halted:
            self._goes_on.clear()
        else:
            self._goes_on.set()

    def end_loop(self) -> None:
        """End the measurement that is under way, and go on behind it."""
        self._ends_loop = True

    async def run(self) -> None:
        """Run to the end.

        :raises ScriptError: it came to an error; what is to be done at last is not done.
        """
        try:
            await self._block(self._program.statements)
        except Aborted:
            self._package = None
        self._finishing = True
        await self._block(self._program.finally_)

    async def _pause(self, seconds: float) -> None:
        """Wait, and longer while it is halted."""
        if self._finishing:
            await asyncio.sleep(max(seconds, 0.0))
            return
        until = self._clock() + seconds
        while True:
            self._check()
            left = until - self._clock()
            if not self._goes_on.is_set():
                await self._goes_on.wait()
            elif left <= 0:
                return
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._stopped.wait()

    def _check(self) -> None:
        if self._stopped.is_set() and not self._finishing:
            raise Aborted

    async def _block(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self._check()
            await self._execute(statement)

    async def _execute(self, statement: Statement) -> None:
        name = statement.name
        if name.startswith("meas_loop_"):
            await self._measure(statement)
        elif name == "loop":
            await self._loop(statement)
        elif name == "if":
            await self._if(statement)
        elif name == "breakloop":
            raise _Broken
        elif name == "abort":
            self._stopped.set()
            self._check()
        elif name == "wait":
            await self._hold(self._number(statement.arguments[0]))
        elif name == "meas":
            await self._meas(statement)
        elif name == "send_string":
            await self._say(f"T{statement.arguments[0]}")
        elif name.startswith("pck_"):
            await self._pack(statement)
        elif name.endswith("_var") or name in _CONVERSIONS:
            self._calculate(statement)
        else:
            self._set(statement)

    # Variables

    def _value(self, text: str) -> Value:
        if text in self._values:
            return self._values[text]
        try:
            value, whole = value_of(text)
        except ValueError:
            return Value()  # a variable that nothing was stored in
        return Value(value, whole=whole)

    def _number(self, text: str) -> float:
        return self._value(text).value

    def _calculate(self, statement: Statement) -> None:
        name, first = statement.name, statement.arguments[0]
        rest = statement.arguments[1:]
        if name == "store_var":
            self._values[first] = replace(self._value(rest[0]), kind=rest[1])
            return
        if name == "copy_var":
            self._values[rest[0]] = self._value(first)
            return
        now = self._value(first)
        if name == "alter_vartype":
            self._values[first] = replace(now, kind=rest[0])
            return
        if name in _CONVERSIONS:
            whole = name != "int_to_float"
            value = math.trunc(now.value) if name == "float_to_int" else now.value
            value = round(value) if name == "float_to_int_round" else value
            self._values[first] = replace(now, value=float(value), whole=whole)
            return
        other = self._number(rest[0])
        try:
            value = _ARITHMETIC[name](now.value, other)
        except ZeroDivisionError:
            raise ScriptError(0x0028, statement.line) from None
        except (ValueError, OverflowError):
            raise ScriptError(0x0010, statement.line) from None
        if isinstance(value, complex) or not math.isfinite(value):
            raise ScriptError(0x0010, statement.line)
        self._values[first] = replace(now, value=value)

    def _is_so(self, statement: Statement) -> bool:
        left, comparison, right = statement.arguments
        a, b = self._number(left), self._number(right)
        if comparison in "&|":
            bits = int(a) & int(b) if comparison == "&" else int(a) | int(b)
            return bits != 0
        same = math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15)
        return {
            "==": same,
            "!=": not same,
            ">": a > b,
            "<": a < b,
            ">=": a >= b or same,
            "<=": a <= b or same,
        }[comparison]

    async def _if(self, statement: Statement | None) -> None:
        while statement is not None:
            if statement.name == "else" or self._is_so(statement):
                await self._block(statement.body)
                return
            statement = statement.otherwise

    async def _loop(self, statement: Statement) -> None:
        await self._say("L")
        try:
            while self._is_so(statement):
                await self._pause(TINY)
                await self._block(statement.body)
        except _Broken:
            pass
        await self._say("+")

    async def _pack(self, statement: Statement) -> None:
        if statement.name == "pck_start":
            if self._package is not None:
                raise ScriptError(0x401B, statement.line)
            self._package = []
            return
        if self._package is None:
            raise ScriptError(0x401B, statement.line)
        if statement.name == "pck_add":
            self._package.append(str(self._value(statement.arguments[0])))
            return
        package, self._package = self._package, None
        await self._say("P" + ";".join(package))

    # Settings

    def _set(self, statement: Statement) -> None:
        name, line, stat = statement.name, statement.line, self._stat
        values = [self._number(each) for each in statement.arguments if name not in _TYPED]
        if name == "set_pgstat_mode":
            if int(values[0]) not in stat.model.modes:
                raise ScriptError(0x0021, line)
            if int(values[0]):
                stat.mode = int(values[0])
        elif name == "set_e":
            self._must_be_possible(values[:1], line)
            stat.potential = values[0]
        elif name in ("cell_on", "cell_off"):
            if name == "cell_on" and not stat.mode:
                raise ScriptError(0x0023, line)
            stat.switch(name == "cell_on")
        elif name == "timer_start":
            self._timer = self._clock()
        elif name == "timer_get":
            self._values[statement.arguments[0]] = Value(self._clock() - self._timer, "eb")
        elif name == "get_gpio":
            self._values[statement.arguments[0]] = Value(0.0, "ec", whole=True)
        elif name == "set_cr":
            stat.choose(values[0], values[0])
        elif name in _TYPED:
            self._set_range(statement)

    def _set_range(self, statement: Statement) -> None:
        name, kind = statement.name, statement.arguments[0]
        values = [self._number(each) for each in statement.arguments[1:]]
        if kind == "da" and name == "set_range_minmax":
            self._must_be_possible(values, statement.line)
        if kind != "ba" or name == "set_range_minmax":
            return
        if min(values) <= 0:
            raise ScriptError(0x4204, statement.line)
        self._stat.choose(min(values), max(values))

    def _must_be_possible(self, potentials: Sequence[float], line: int) -> None:
        if not all(self._stat.allows(each) for each in potentials):
            raise ScriptError(0x000F, line)

    # Measurements

    async def _hold(self, seconds: float) -> None:
        """Let time go by, with the cell as it is."""
        await self._pause(seconds)
        if seconds > 0:
            self._stat.apply(self._stat.potential, seconds)

    async def _meas(self, statement: Statement) -> None:
        seconds, kind = self._number(statement.arguments[0]), statement.arguments[2]
        await self._pause(seconds)
        if kind == "ba":
            value = self._stat.apply(self._stat.potential, max(seconds, 1e-6))
        elif kind in ("ab", "da"):
            value = self._stat.measured_potential(max(seconds, 1e-6))
        else:
            value = Value(0.0, kind)
        self._values[statement.arguments[1]] = value

    async def _measure(self, statement: Statement) -> None:
        number, technique = TECHNIQUES[statement.name.removeprefix("meas_loop_")]
        numbers = [self._number(each) for each in statement.arguments]
        points = technique(self._stat, statement, numbers)
        point = next(points, None)  # what is wrong with it comes before its marker
        self._ends_loop, now, due = False, -1, self._clock()
        await self._say(f"M{number:04X}")  # what is said does not hold up the measurement
        try:
            while point is not None and not self._ends_loop:
                scan, seconds, read = point
                if scan != now:
                    await self._next_scan(now, scan)
                    now = scan
                due += seconds
                await self._pause(due - self._clock())
                self._values |= dict(zip(statement.arguments, read(), strict=False))
                await self._block(statement.body)
                point = next(points, None)
        except _Broken:
            pass
        except Aborted:
            await self._say("*")
            raise
        await self._next_scan(now, -1)
        await self._say("*")

    async def _next_scan(self, before: int, scan: int) -> None:
        if before >= 0:
            await self._say("-")
        if scan >= 0:
            await self._say(f"C{scan:04d}")


_CONVERSIONS = ("int_to_float", "float_to_int", "float_to_int_round", "alter_vartype")
_TYPED = ("set_range", "set_range_minmax", "set_autoranging", "timer_get", "get_gpio")
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "add_var": lambda a, b: a + b,
    "sub_var": lambda a, b: a - b,
    "mul_var": lambda a, b: a * b,
    "div_var": lambda a, b: a / b,
    "pow_var": lambda a, b: a**b,
    "mod_var": math.fmod,
    "log_var": lambda a, b: math.log(a, b),
}
