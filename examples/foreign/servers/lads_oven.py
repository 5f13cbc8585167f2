"""An OPC UA server laid out as a LADS device: an oven that is not there. `python lads_oven.py PORT`

Names and state machines are those of OPC 30500-1; its type definitions are not loaded, and it has
only what a client of one functional unit wants. Written with `asyncua` and nothing of ours.
"""
# pyright: basic, reportMissingImports=false

import asyncio
import sys
from typing import Any

from asyncua import Server, ua
from asyncua.server.server import Node

LADS, DI = "http://opcfoundation.org/UA/LADS/", "http://opcfoundation.org/UA/DI/"
FASTEST = 60.0  # degC/s, so that nobody has to wait
HIGHEST = 300.0  # degC
PERIOD = 0.05  # s


class Oven:
    """One functional unit with a temperature controller and a door sensor."""

    def __init__(self, server: Server, lads: int, di: int) -> None:
        self.server, self.lads, self.di = server, lads, di
        self.states: dict[str, Node] = {}
        self.temperature, self.target = 20.0, 20.0

    async def build(self) -> None:
        lads = self.lads
        devices = await self.server.nodes.objects.add_object(self.di, "DeviceSet")
        oven = await devices.add_object(lads, "Oven")
        units = await oven.add_object(lads, "FunctionalUnitSet")
        unit = await units.add_object(lads, "Heating")
        machine = await self._machine(unit, "FunctionalUnitState")
        properties = _argument("Properties", ua.NodeId(3, lads), rank=1)
        await machine.add_method(lads, "Start", self._start, [properties], [])
        await machine.add_method(lads, "Stop", self._stop, [], [])
        await machine.add_method(lads, "Abort", self._abort, [], [])
        await machine.add_method(lads, "Clear", self._clear, [], [])
        functions = await unit.add_object(lads, "FunctionSet")
        control = await functions.add_object(lads, "Temperature")
        self.current = await control.add_variable(lads, "CurrentValue", 20.0)
        self.wanted = await control.add_variable(lads, "TargetValue", 20.0)
        await self.wanted.set_writable()
        machine = await self._machine(control, "ControlFunctionState")
        value = _argument("TargetValue", ua.NodeId(ua.ObjectIds.Double))
        await machine.add_method(lads, "StartWithTargetValue", self._heat, [value], [])
        await machine.add_method(lads, "Stop", self._cool, [], [])
        sensor = await functions.add_object(lads, "Pressure")
        self.pressure = await sensor.add_variable(lads, "SensorValue", 1.013)

    async def _machine(self, owner: Node, name: str) -> Node:
        machine = await owner.add_object(self.lads, name)
        text = ua.LocalizedText("Stopped")
        self.states[name] = await machine.add_variable(0, "CurrentState", text)
        return machine

    async def _put(self, machine: str, state: str) -> None:
        await self.states[machine].write_value(ua.LocalizedText(state))

    async def _is(self, machine: str) -> str:
        return (await self.states[machine].read_value()).Text

    async def _start(self, _: Any, properties: Any) -> Any:
        if await self._is("FunctionalUnitState") != "Stopped":
            return ua.StatusCode(ua.StatusCodes.BadInvalidState)
        await self._put("FunctionalUnitState", "Running")
        self.ending = asyncio.get_running_loop().call_later(0.3, self._end)
        return []

    def _end(self) -> None:
        self.run = asyncio.ensure_future(self._put("FunctionalUnitState", "Stopped"))

    async def _stop(self, _: Any) -> list[Any]:
        await self._put("FunctionalUnitState", "Stopped")
        return []

    async def _abort(self, _: Any) -> list[Any]:
        for machine in self.states:
            await self._put(machine, "Aborted")
        return []

    async def _clear(self, _: Any) -> list[Any]:
        for machine in self.states:
            await self._put(machine, "Stopped")
        return []

    async def _heat(self, _: Any, value: ua.Variant) -> Any:
        if not 0 <= value.Value <= HIGHEST:
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
        self.target = value.Value
        await self.wanted.write_value(self.target)
        await self._put("ControlFunctionState", "Running")
        return []

    async def _cool(self, _: Any) -> list[Any]:
        self.target = self.temperature
        await self._put("ControlFunctionState", "Stopped")
        return []

    async def live(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            most = FASTEST * PERIOD
            self.temperature += max(-most, min(most, self.target - self.temperature))
            await self.current.write_value(self.temperature)


def _argument(name: str, datatype: ua.NodeId, rank: int = -1) -> ua.Argument:
    argument = ua.Argument()
    argument.Name, argument.DataType, argument.ValueRank = name, datatype, rank
    return argument


async def main(port: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/oven")
    server.set_server_name("Oven that is not there")
    di = await server.register_namespace(DI)
    oven = Oven(server, await server.register_namespace(LADS), di)
    await oven.build()
    async with server:
        print("ready", flush=True)  # noqa: T201
        await oven.live()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4840))
