"""Who holds which instrument: trials in flight use the ones that they share in turn."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager


class Claims:
    """One holder per instrument. Claims are taken in the order of the names: no deadlock."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def hold(self, instruments: Collection[str]) -> AsyncIterator[None]:
        """Wait until all of them are free, and hold them."""
        async with AsyncExitStack() as stack:
            for name in sorted(set(instruments)):
                await stack.enter_async_context(self._locks[name])
            yield
