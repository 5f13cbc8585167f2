"""The parts of a world that simulated instruments act on or look at.

A part belongs to a world and brings it up to now before anything is read or changed, so that an
instrument may ask at any moment and as often as it likes. Parts know physics and no protocol.
"""
