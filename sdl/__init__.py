"""The runtime that self-driving laboratories run on. Start with `Campaign` and `Lab`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdl.campaign import Campaign as Campaign
    from sdl.lab import Lab as Lab

__all__ = ["Campaign", "Lab"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # `import sdl` loads nothing heavy: what is asked for is imported when it is asked for
    if name == "Campaign":
        from sdl.campaign import Campaign

        return Campaign
    if name == "Lab":
        from sdl.lab import Lab

        return Lab
    raise AttributeError(f"module 'sdl' has no attribute {name!r}")
