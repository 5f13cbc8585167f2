# pyright: basic, reportMissingImports=false

"""julabo 2.3.0 drives a circulator over TCP: their_julabo.py HOST PORT."""

import asyncio
import sys

from julabo import JulaboCF, connection_for_url


async def main() -> None:
    connection = connection_for_url(f"tcp://{sys.argv[1]}:{sys.argv[2]}", concurrency="asyncio")
    await connection.open()
    bath = JulaboCF(connection)
    print(await bath.identification())
    print(await bath.status(), await bath.is_started())
    await bath.set_point_1(35.5)
    print(await bath.set_point_1())
    await bath.start()
    print(await bath.status(), await bath.is_started())
    before = await bath.bath_temperature()
    print(await bath.heating_power())
    await asyncio.sleep(1.2)
    print(await bath.bath_temperature() > before, await bath.external_temperature() > 20.0)
    await bath.set_point_1(400.0)
    print(await bath.status())
    await bath.stop()
    print(await bath.status())
    await connection.close()


asyncio.run(main())
