"""The Dashboard Server of a Universal Robots controller (e-Series or CB3), port 29999.

Source: Universal Robots, "Dashboard Server" (FAQ 15690, and its e-Series edition of 2022, as cited
by others' drivers): commands and replies; what it says in local mode, and that one must connect
anew: issues 125 and 262 of UniversalRobots/Universal_Robots_ROS_Driver; the reply to `load`: issue
89 of its Client Library; the reply to `clear operational mode`: the ROS driver. Assumed, since no
source says: `stop` and `pause` of what does not run fail; times of power on and brake release;
`programState` without a program.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np

from sdl.simulators.simulated import LineSimulator

BANNER = "Connected: Universal Robots Dashboard Server"
NOT_REMOTE = (
    "Command is not allowed due to safety reasons, please switch robot to Remote Control mode and "
    "reconnect to port 29999"
)
TOO_SOON = (
    "Cannot unlock protective stop until 5s after occurrence. "
    "Always inspect cause of protective stop before unlocking"
)
REMOTE_ONLY = (
    *("load", "play", "stop", "pause", "power on", "power off", "brake release"),
    *("unlock protective stop", "load installation", "restart safety"),
    *("set operational mode", "clear operational mode"),
)
POWERING, RELEASING = 3.0, 1.5  # s
UNLOCKABLE_AFTER = 5.0  # s
THINK = 0.004  # s
PROGRAMS = "/programs/"


class Arm(Protocol):
    """The arm, and the programs that were taught to it."""

    @property
    def programs(self) -> Mapping[str, float]: ...
    @property
    def playing(self) -> bool: ...
    @property
    def held(self) -> bool: ...
    def start(self, name: str) -> None: ...
    def hold(self) -> None: ...
    def go_on(self) -> None: ...
    def stop(self, why: str = "stopped") -> None: ...


class SimulatedUrDashboard(LineSimulator):
    """One controller."""

    faults: ClassVar[frozenset[str]] = frozenset({"busy", "stuck", "local mode", "power cycle"})
    terminator: ClassVar[bytes] = b"\n"

    def __init__(
        self,
        part: Arm,
        *,
        rng: np.random.Generator,
        version: str = "5.12.0.1101319 (Feb 21 2022)",
        model: str = "UR5",
        serial: str = "20195500001",
        powered: bool = False,
        remote: bool = True,
    ) -> None:
        """Power up.

        :param version: of PolyScope; 3.x is a CB3, which has no remote control mode.
        :param powered: whether the arm has power, and its brakes are released.
        :param remote: whether the switch on the pendant is at remote control.
        """
        super().__init__(rng=rng)
        self._part, self.version, self._model, self._serial = part, version, model, serial
        self._is_e, self._remote, self._let_in = not version.startswith("3."), remote, remote
        self.log: list[str] = []
        self.popup = ""
        self._power_up()
        if powered:
            self._mode = "RUNNING"
        self._commands: dict[str, Callable[[str], str]] = {
            "load": self._load,
            "play": self._play,
            "stop": self._stop,
            "pause": self._pause,
            "shutdown": self._shut_down,
            "running": lambda _: f"Program running: {str(self._part.playing).lower()}",
            "robotmode": lambda _: f"Robotmode: {self.mode}",
            "get loaded program": lambda _: self._shown_program(),
            "popup": self._show_popup,
            "close popup": lambda _: self._close_popup("closing popup"),
            "addtolog": self._add_to_log,
            "isprogramsaved": lambda _: f"true {self.program}".rstrip(),
            "programstate": lambda _: f"{self.program_state} {self.program or '<unnamed>'}",
            "polyscopeversion": lambda _: f"URSoftware {self.version}",
            "version": lambda _: self.version.partition(" ")[0],
            "power on": lambda _: self._power_on(brakes=False),
            "power off": self._power_off,
            "brake release": lambda _: self._power_on(brakes=True),
            "safetymode": lambda _: f"Safetymode: {self.safety}",
            "safetystatus": lambda _: f"Safetystatus: {self.safety}",
            "unlock protective stop": self._unlock,
            "close safety popup": lambda _: self._close_popup("closing safety popup"),
            "load installation": self._load_installation,
            "restart safety": self._restart_safety,
            "get serial number": lambda _: self._serial,
            "get robot model": lambda _: self._model,
            "savelog": lambda _: "Log saved to disk",
        }
        if self._is_e:
            self._commands |= {
                "is in remote control": lambda _: str(self._remote).lower(),
                "set operational mode": self._set_operational,
                "get operational mode": lambda _: self._operational,
                "clear operational mode": self._clear_operational,
            }
        self._names = sorted(self._commands, key=len, reverse=True)

    def _power_up(self) -> None:
        self._part.stop("power lost")
        self._mode, self._mode_at, self._next_mode = "POWER_OFF", 0.0, ""
        self.safety, self._stopped_at = "NORMAL", 0.0
        self.program, self._operational, self._is_off = "", "NONE", False

    # What happens to it otherwise

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def mode(self) -> str:
        """As `robotmode` calls it."""
        while self._next_mode and self._now >= self._mode_at:
            self._mode, self._next_mode = self._next_mode, ""
            if self._mode == "IDLE" and self._release:
                self._next_mode, self._mode_at = "RUNNING", self._mode_at + RELEASING
        return self._mode

    _release = False  # whether the brakes are to be released when the power is on

    @property
    def program_state(self) -> str:
        if self._part.playing:
            return "PLAYING"
        return "PAUSED" if self._part.held else "STOPPED"

    @property
    def remote(self) -> bool:
        """Where the switch on the pendant stands."""
        return self._remote

    @remote.setter
    def remote(self, on: bool) -> None:
        self._remote = on
        self._let_in = self._let_in and on  # who was connected meanwhile must connect anew

    def protective_stop(self) -> None:
        """Let it hit something."""
        self._part.hold()
        self.safety, self._stopped_at = "PROTECTIVE_STOP", self._now

    def emergency_stop(self, pressed: bool) -> None:
        """Press or release the button."""
        if pressed:
            self._part.stop()
            self._mode, self._next_mode = "POWER_OFF", ""
        self.safety = "ROBOT_EMERGENCY_STOP" if pressed else "NORMAL"

    def power_cycle(self) -> None:
        """Cut the power for a moment: the arm is off, and no program is loaded."""
        self._power_up()

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.power_cycle()
        elif fault == "local mode":
            self.remote = False
        elif fault == "stuck":
            self.protective_stop()

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "local mode":
            self.remote = True

    # On its line

    def greeting(self) -> bytes:
        """Return what it says to each who connects."""
        self._let_in = self._remote
        return f"{BANNER}\n".encode()

    async def respond(self, request: bytes) -> None:
        await asyncio.sleep(THINK)
        said = request.decode("latin-1").strip()
        if self._is_off or not said:
            return
        if said.lower() == "quit":
            await self.say(b"Disconnected\n")
            self._line.hang_up()
            return
        await self.say(f"{self._answer(said)}\n".encode("latin-1"))

    def _answer(self, said: str) -> str:
        low = re.sub(r"\s+", " ", said.lower())
        name = next((n for n in self._names if low == n or low.startswith(f"{n} ")), None)
        if name is None:
            return f"could not understand: '{said}'"
        if self._is_e and name in REMOTE_ONLY and not self._let_in:
            return NOT_REMOTE
        words = said.split(None, name.count(" ") + 1)
        argument = words[-1] if len(words) > name.count(" ") + 1 else ""
        return self._commands[name](argument)

    def _load(self, name: str) -> str:
        short = name.removeprefix(PROGRAMS)
        if short not in self._part.programs:
            return f"File not found: {name}"
        if "busy" in self.troubles or self._part.playing or self._part.held:
            return f"Error while loading program: {name}"
        self.program = short
        installation = f", {PROGRAMS}default.installation" if self._is_e else ""
        return f"Loading program: {PROGRAMS}{short}{installation}"

    def _play(self, _: str) -> str:
        ready = self.mode == "RUNNING" and self.safety in ("NORMAL", "REDUCED")
        if not (ready and self.program) or self._part.playing or "busy" in self.troubles:
            return "Failed to execute: play"
        if self._part.held:
            self._part.go_on()
        else:
            self._part.start(self.program)
        return "Starting program"

    def _stop(self, _: str) -> str:
        if self.program_state == "STOPPED":
            return "Failed to execute: stop"
        self._part.stop()
        return "Stopped"

    def _pause(self, _: str) -> str:
        if not self._part.playing:
            return "Failed to execute: pause"
        self._part.hold()
        return "Pausing program"

    def _shut_down(self, _: str) -> str:
        self._part.stop("power lost")
        asyncio.get_running_loop().call_later(10 * THINK, self._switch_off)
        return "Shutting down"

    def _switch_off(self) -> None:
        self._is_off = True

    def _shown_program(self) -> str:
        if not self.program:
            return "No program loaded"
        return f"Loaded program: {PROGRAMS}{self.program}"

    def _show_popup(self, text: str) -> str:
        self.popup = text
        return "showing popup"

    def _close_popup(self, answer: str) -> str:
        self.popup = ""
        return answer

    def _add_to_log(self, text: str) -> str:
        if not text:
            return "No log message to add"
        self.log = [*self.log[-99:], text]
        return "Added log message"

    def _power_on(self, *, brakes: bool) -> str:
        answer = "Brake releasing" if brakes else "Powering on"
        if "EMERGENCY" in self.safety or self.safety in ("VIOLATION", "FAULT"):
            return answer  # it says so, and nothing happens
        self._release = brakes
        if self.mode == "POWER_OFF":
            self._mode, self._next_mode, self._mode_at = "POWER_ON", "IDLE", self._now + POWERING
        elif self._mode == "IDLE" and brakes:
            self._next_mode, self._mode_at = "RUNNING", self._now + RELEASING
        return answer

    def _power_off(self, _: str) -> str:
        self._part.stop()
        self._mode, self._next_mode = "POWER_OFF", ""
        return "Powering off"

    def _unlock(self, _: str) -> str:
        if self.safety != "PROTECTIVE_STOP":
            return "Protective stop releasing"
        if "stuck" in self.troubles or self._now - self._stopped_at < UNLOCKABLE_AFTER:
            return TOO_SOON
        self.safety = "NORMAL"
        return "Protective stop releasing"

    def _load_installation(self, name: str) -> str:
        if name.removeprefix(PROGRAMS) != "default.installation":
            return f"File not found: {name}"
        return f"Loading installation: {name}"

    def _restart_safety(self, _: str) -> str:
        self._part.stop()
        self.safety, self._mode, self._next_mode = "NORMAL", "POWER_OFF", ""
        return "Restarting safety"

    def _set_operational(self, mode: str) -> str:
        if mode.lower() not in ("manual", "automatic"):
            return f"Failed setting operational mode: {mode}"
        self._operational = mode.upper()
        return f"Operational mode '{mode.lower()}' is set"

    def _clear_operational(self, _: str) -> str:
        mode, self._operational = self._operational, "NONE"
        return f"No longer controlling the operational mode. Current operational mode: '{mode}'."
