"""One file per instrument: ophyd-async devices on the wires of `sdl.wires`.

A driver names the manual it was written from, checks before it sends, and is tested through the
simulator of the same name, with which it shares no code.
"""
