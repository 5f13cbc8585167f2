"""A PI controller of a temperature, as simulated instruments have one."""

from dataclasses import dataclass


@dataclass
class Regulator:
    """Proportional and integral on the error; the integral stops where the output is at its end."""

    band: float
    """degC of error that ask for all there is"""
    integral_time: float
    """s; 0: no integral action"""
    least: float = 0.0
    """Lowest output: -1 cools with full power"""
    integral: float = 0.0

    def output(self, dt: float, error: float) -> float:
        """Return the part of the full power, `least` to 1, for an error (wanted - found), K."""
        wanted = error / self.band + self.integral
        at_its_end = (wanted >= 1.0 and error > 0) or (wanted <= self.least and error < 0)
        if self.integral_time > 0 and not at_its_end:
            self.integral += error / self.band * dt / self.integral_time
            self.integral = min(max(self.integral, self.least), 1.0)
        return min(max(error / self.band + self.integral, self.least), 1.0)

    def reset(self) -> None:
        """Begin anew, as when it is switched on."""
        self.integral = 0.0
