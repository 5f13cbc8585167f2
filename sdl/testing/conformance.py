"""One class of tests that every driver passes with its simulator."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pytest

from sdl import endpoints
from sdl.clock import new_loop
from sdl.endpoints import modbus
from sdl.endpoints.faults import CATALOGUE, INSTRUMENT, Fault, of_line
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.line import Cable, LineDevice
from sdl.endpoints.memory import joined, memory
from sdl.errors import FaultError, InstrumentError, SdlError
from sdl.instrument import PushBackend
from sdl.testing.subject import Rig, Setting, Subject, Truth
from sdl.testing.transcripts import Transcript, TranscriptSession, child
from sdl.wires.modbus import ModbusWire, parts_of

T = TypeVar("T")

EXCHANGES = (1, 2, 3)  # at which faults begin
PLACES = (0.0, 0.3, 0.6, 1.0)  # in a reply, where it can be damaged
DAMAGES = ("garbled reply", "dropped byte", "split reply")
STREAMS = ("serial:", "tcp:", "modbus+")
UNTRUE = ("drift", "noise", "saturation")  # while they last, no driver can know better
SHORT, LONG = 10.0, 600.0  # s that faults of the line and of the instrument last
ROUNDS = 3  # of reading, while a fault may happen
ATTEMPTS = 6  # to be well again
PAUSE = 15.0  # s between them; longer than a wire's longest wait for a connection


def on_virtual_time(story: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop whose clock jumps."""
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(story)


@dataclass
class Tried:
    """A driver on a wire to its simulator."""

    subject: Subject
    rig: Rig
    line: Faulty
    wire: Any
    driver: Any

    @property
    def part(self) -> Any:
        return self.rig.part

    def child(self, path: str) -> Any:
        return child(self.driver, path)

    def change(self, n: int) -> None:
        if self.subject.change is not None:
            self.subject.change(self.part, n)

    async def in_time(self, doing: Awaitable[T], what: str) -> T:
        """Wait for something that must end, whatever goes wrong."""
        try:
            async with asyncio.timeout(self.subject.patience):
                return await doing
        except TimeoutError:
            return pytest.fail(f"{what} had not ended after {self.subject.patience:g} s")

    async def reads(self, path: str, truth: Truth, *, judged: bool = True) -> None:
        """Read a signal; it must be true.

        :raises SdlError: it could not be read.
        """
        signal = self.child(path)
        before = truth.of(self.part)
        value = await self.in_time(signal.get_value(), f"reading {path}")
        if judged and not truth.holds(value, self.part) and not _alike(value, before, truth):
            if _is_pushed(signal):
                await self._comes(signal, path, truth)
                return
            now = truth.of(self.part)
            pytest.fail(f"{path} was read as {value!r} where {now!r} is true: {self._log()}")

    async def _comes(self, signal: Any, path: str, truth: Truth) -> None:
        """What the instrument sends when it likes must come to be true."""
        deadline = asyncio.get_running_loop().time() + self.subject.patience
        while not truth.holds(value := await signal.get_value(), self.part):
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"{path} is {value!r} and never became {truth.of(self.part)!r}")
            await asyncio.sleep(0.5)

    async def is_well(self) -> None:
        """All signals are read, and true, after a while at the latest."""
        failure: SdlError | None = None
        for attempt in range(ATTEMPTS):
            try:
                if attempt == ATTEMPTS // 2 and isinstance(failure, FaultError):
                    await self.driver.connect(force_reconnect=True)  # what needs a person
                for path, truth in self.subject.truths.items():
                    await self.reads(path, truth)
                return
            except SdlError as error:
                failure = error
            await asyncio.sleep(PAUSE)
        pytest.fail(f"it was not well again: {failure!r}: {self._log()}")

    async def sets(self, setting: Setting) -> None:
        """Set it.

        :raises SdlError: it could not be set.
        """
        what = f"setting {setting.signal or self.driver.name} to {setting.value!r}"
        target = self.child(setting.signal)
        if setting.signal:
            status = target.set(setting.value, timeout=2 * self.subject.patience)
        else:
            status = target.set(setting.value)
        await self.in_time(_ended(status), what)

    def _log(self) -> str:
        said = [f"{entry.direction} {entry.data!r}" for entry in self.wire.log]
        return "; ".join(said[-12:])


@asynccontextmanager
async def tried(subject: Subject, *faults: Fault, connect: bool = True) -> AsyncIterator[Tried]:
    """A fresh driver, wire and simulator; `faults` are planned once it is connected."""
    rig = subject.rig()
    line = Faulty(rig.simulator)
    async with endpoints.memory_wire(subject.url, [line], timeout=subject.timeout) as wire:
        driver = subject.driver(wire)
        if connect:
            await driver.connect()
            if subject.prepare is not None:
                await subject.prepare(driver)
        line.plan(*faults)
        try:
            yield Tried(subject, rig, line, wire, driver)
        finally:
            line.clear()


class Conformance:
    """Derive from it, name a `subject`, and pytest runs all of it."""

    subject: ClassVar[Subject]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give each test the settings, faults and sessions of its subject."""
        subject = self.subject
        wanted = metafunc.fixturenames
        if "setting" in wanted:
            names = [setting.signal or "itself" for setting in subject.settings]
            metafunc.parametrize("setting", subject.settings or [None], ids=names or ["none"])
        if "kind" in wanted:
            metafunc.parametrize("kind", _kinds(subject))
        if "session" in wanted:
            sessions = _sessions(subject, metafunc)
            names = [each.name for each in sessions]
            metafunc.parametrize("session", sessions or [None], ids=names or ["none"])

    def test_it_says_who_it_is(self) -> None:
        async def story(bench: Tried) -> None:
            said = await bench.in_time(bench.driver.identify(), "identify")
            assert re.fullmatch(self.subject.identity, said), f"it says {said!r}"

        self._run(story)

    def test_every_signal_tells_the_truth_in_its_units(self) -> None:
        async def story(bench: Tried) -> None:
            for n in range(1, ROUNDS + 1):
                bench.change(n)
                for path, truth in self.subject.truths.items():
                    await bench.reads(path, truth)
            for path, truth in self.subject.truths.items():
                (described,) = (await bench.child(path).describe()).values()
                units = described.get("units") or ""
                assert units == truth.units, f"{path} is in {units!r}, not {truth.units!r}"

        self._run(story)

    def test_all_that_is_readable_can_be_read_at_once(self) -> None:
        async def story(bench: Tried) -> None:
            described = await bench.in_time(bench.driver.describe(), "describe")
            read = await bench.in_time(bench.driver.read(), "read")
            assert set(read) == set(described)
            asked = [bench.reads(path, truth) for path, truth in self.subject.truths.items()]
            await asyncio.gather(*asked)

        self._run(story)

    def test_a_connection_that_was_closed_is_made_again(self) -> None:
        async def story(bench: Tried) -> None:
            bench.change(1)
            await bench.wire.close()
            bench.change(2)
            await bench.is_well()

        self._run(story)

    def test_a_reader_that_gives_up_leaves_the_line_in_order(self) -> None:
        async def story(bench: Tried) -> None:
            paths = list(self.subject.truths)
            for n, path in enumerate(paths * 2, 1):
                bench.change(n)
                reading = asyncio.ensure_future(bench.child(path).get_value())
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                bench.change(n + 1)
                await bench.reads(paths[n % len(paths)], self.subject.truths[paths[n % len(paths)]])

        self._run(story)

    def test_nothing_is_sent_when_it_is_mocked(self) -> None:
        async def story(bench: Tried) -> None:
            await bench.driver.connect(mock=True)
            assert len(bench.wire.log) == 0

        self._run(story, connect=False)

    def test_every_setting_takes_effect(self, setting: Setting | None) -> None:
        if setting is None:
            return

        async def story(bench: Tried) -> None:
            before = self._dosed(bench)
            await bench.sets(setting)
            assert setting.took(bench.part), f"it says that {setting.value!r} is set: {bench.part}"
            self._check_dose(bench, setting, before, done=True)

        self._run(story)

    def test_what_is_not_allowed_is_refused_before_anything_is_sent(
        self, setting: Setting | None
    ) -> None:
        if setting is None:
            return

        async def story(bench: Tried) -> None:
            for value in setting.refused:
                before = [entry for entry in bench.wire.log if entry.direction == "sent"]
                with pytest.raises(SdlError):
                    await bench.in_time(
                        _ended(bench.child(setting.signal).set(value)), f"set {value!r}"
                    )
                after = [entry for entry in bench.wire.log if entry.direction == "sent"]
                assert after == before, f"{value!r} was refused after {after[len(before) :]}"

        self._run(story)

    def test_it_can_be_stopped_and_made_safe(self) -> None:
        async def story(bench: Tried) -> None:
            for setting in self.subject.settings[:1]:
                await bench.sets(setting)
            await bench.in_time(bench.driver.stop(success=False), "stop")
            await bench.in_time(bench.driver.make_safe(), "make_safe")
            assert self.subject.safe is None or self.subject.safe(bench.part), "it is not safe"

        self._run(story)

    def test_silence_is_an_error_in_time(self) -> None:
        async def story(bench: Tried) -> None:
            bench.line.plan(Fault("silence", 1, seconds=100 * self.subject.patience))
            asked = [path for path in self.subject.truths if not _is_pushed(bench.child(path))]
            for path in asked:  # of what is pushed the last is good until it is too old
                reading = bench.in_time(bench.child(path).get_value(), f"reading {path}")
                with pytest.raises(InstrumentError):
                    await reading

        self._run(story)

    def test_a_reading_is_true_or_an_error_whatever_goes_wrong(self, kind: str) -> None:
        async def story(bench: Tried) -> None:
            bench.change(1)
            for n in range(2, ROUNDS + 2):
                for path, truth in self.subject.truths.items():
                    bench.change(n)
                    try:
                        await bench.reads(path, truth, judged=kind not in UNTRUE)
                    except SdlError:
                        continue
            bench.line.clear()
            bench.change(ROUNDS + 2)
            await bench.is_well()

        for fault in _faults(kind, self.subject.timeout):
            self._run(story, fault)

    def test_a_setting_takes_effect_or_is_an_error_whatever_goes_wrong(
        self, kind: str, setting: Setting | None
    ) -> None:
        if setting is None:
            return

        async def story(bench: Tried) -> None:
            before = self._dosed(bench)
            try:
                await bench.sets(setting)
            except SdlError as error:
                done, why = False, repr(error)
            else:
                done, why = True, ""
                assert setting.took(bench.part), f"it says that {setting.value!r} is set"
            bench.line.clear()
            await asyncio.sleep(PAUSE)
            self._check_dose(bench, setting, before, done=done)
            if done or CATALOGUE[kind].layer == "instrument" or self.subject.dosed is not None:
                return
            await bench.is_well()
            try:
                await bench.sets(setting)
            except SdlError as error:
                pytest.fail(f"it could not be set after all was well again: {error!r} ({why})")
            assert setting.took(bench.part)

        for fault in _faults(kind, self.subject.timeout):
            self._run(story, fault)

    def test_the_simulator_answers_as_the_transcript_says(
        self, session: TranscriptSession | None
    ) -> None:
        if session is None:
            self._needs_no_transcript()
            return

        async def story() -> None:
            rig = self.subject.rig()
            await session.check_simulator(_on_a_line(rig.simulator, self.subject.url), rig.part)

        on_virtual_time(story())

    def test_the_driver_speaks_as_the_transcript_says(
        self, session: TranscriptSession | None
    ) -> None:
        if session is None:
            self._needs_no_transcript()
            return

        transcript = self._transcript()

        async def story() -> None:
            player = transcript.player(session)
            async with _wire_to(player, self.subject) as wire:
                driver = self.subject.driver(wire)
                try:
                    if transcript.connect:
                        await driver.connect()
                    await session.check_driver(driver)
                except (SdlError, AssertionError):
                    assert player.strange is None, player.strange
                    raise
                assert player.strange is None, player.strange
                assert player.is_through, f"{player.played} exchanges were had, and no more"

        on_virtual_time(story())

    def _run(
        self,
        story: Callable[[Tried], Awaitable[None]],
        *faults: Fault,
        connect: bool = True,
    ) -> None:
        async def whole() -> None:
            async with tried(self.subject, *faults, connect=connect) as bench:
                try:
                    await story(bench)
                except BaseException as error:
                    if faults:
                        error.add_note(f"with {faults}")
                    raise

        on_virtual_time(whole())

    def _needs_no_transcript(self) -> None:
        """On a line of bytes both sides are held against golden ones."""
        assert not self.subject.url.startswith(STREAMS), "it has no transcript: name one"

    def _transcript(self) -> Transcript:
        assert self.subject.transcript is not None
        return Transcript.load(self.subject.transcript)

    def _dosed(self, bench: Tried) -> float:
        return 0.0 if self.subject.dosed is None else self.subject.dosed(bench.part)

    def _check_dose(self, bench: Tried, setting: Setting, before: float, *, done: bool) -> None:
        """A dose is given once, or partly, or not; never more than was asked for."""
        if self.subject.dosed is None or setting.signal:
            return
        asked = float(setting.value if setting.amount is None else setting.amount)
        given = self.subject.dosed(bench.part) - before
        slack = 0.02 * abs(asked) + 1e-6
        assert not done or abs(given - asked) <= slack, f"{given:g} of {asked:g} was given"
        least, most = sorted((0.0, asked))
        assert least - slack <= given <= most + slack, (
            f"{given:g} was given where {asked:g} was due"
        )


def _on_a_line(simulator: Any, url: str) -> Any:
    """Return what speaks for it on a line of bytes."""
    if not url.startswith("modbus"):
        return simulator
    return modbus.Station([simulator], parts_of(url)[1])


@asynccontextmanager
async def _wire_to(player: LineDevice, subject: Subject) -> AsyncIterator[Any]:
    """A wire of the right kind to what speaks on a line of bytes, such as a transcript's player."""
    cable, network = Cable([player]), "+tcp" in subject.url or subject.url.startswith("tcp")
    if not subject.url.startswith("modbus"):
        async with joined("transcript", cable, subject.timeout, network=network) as wire:
            yield wire
        return
    framing = parts_of(subject.url)[1]
    connector = memory(cable, network=network)
    modbus_wire = ModbusWire("transcript", connector, framing, timeout=subject.timeout)
    await cable.plug_in()
    try:
        yield modbus_wire
    finally:
        await modbus_wire.close()
        await cable.pull_out()


def _kinds(subject: Subject) -> list[str]:
    async def known() -> frozenset[str]:
        return getattr(subject.rig().simulator, "faults", frozenset())

    inside = on_virtual_time(known())
    unknown = inside - set(INSTRUMENT)
    assert not unknown, f"the catalogue has no {', '.join(unknown)} for instruments"
    possible = (*of_line(subject.url), *(kind for kind in INSTRUMENT if kind in inside))
    return [kind for kind in possible if kind not in subject.exempt]


def _faults(kind: str, timeout: float) -> list[Fault]:
    """Every fault of a kind that is tried, each alone."""
    if CATALOGUE[kind].layer == "instrument":
        return [Fault(kind, at, seconds=LONG) for at in EXCHANGES[:2]]
    seconds = 1.4 * timeout if kind == "late reply" else SHORT
    places = PLACES if kind in DAMAGES else PLACES[:1]
    return [Fault(kind, at, seconds, where=where) for at in EXCHANGES for where in places]


def _sessions(subject: Subject, metafunc: pytest.Metafunc) -> list[TranscriptSession]:
    if subject.transcript is None:
        return []
    sessions = Transcript.load(subject.transcript).sessions
    ours = "driver" in metafunc.function.__name__
    return [each for each in sessions if not ours or each.do is not None]


def _alike(value: Any, right: Any, truth: Truth) -> bool:
    if isinstance(right, bool | str):
        return value == right
    return bool(abs(value - right) <= truth.within + 1e-9)


def _is_pushed(signal: Any) -> bool:
    return isinstance(signal._connector.backend, PushBackend)  # noqa: SLF001 (no other way)


async def _ended(status: Any) -> None:
    await status
