"""What detectors behind an sdl detector service have in common."""

from sdl.drivers.detector.service import Detector

__all__ = ["Detector"]
