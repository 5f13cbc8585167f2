import pytest

from sdl.clock import SIMULATED_EPOCH
from sdl.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12.0, "12"),
        (2340.56, "2341"),
        (26842.3, "26842"),
        (0.5, "0.5"),
        (-0.012345, "\N{MINUS SIGN}0.01235"),
        (1.5e-7, f"1.5 {words.TIMES} 10⁻⁷"),
        (6.02214e23, f"6.022 {words.TIMES} 10²³"),
        (999_999.9, f"1 {words.TIMES} 10⁶"),
    ],
)
def test_numbers_have_four_significant_digits_and_no_needless_exponent(
    value: float, text: str
) -> None:
    assert words.number(value) == text


def test_a_column_has_the_decimals_that_tell_its_values_apart() -> None:
    write = words.Column([30.0, 55.755224582, 120.0])
    assert [write(30.0), write(55.755224582), write(None)] == ["30.0", "55.8", ""]
    assert words.Column([0.1, 0.21473767, 0.5])(0.21473767) == "0.215"
    assert words.Column(["ethanol", "water"])("water") == "water"


def test_a_column_of_ratios_keeps_its_small_values() -> None:
    assert words.Column([0.00112, 9.3, 0.404], ratios=True)(0.0011234) == "0.00112"


def test_units_are_printed_as_units() -> None:
    assert words.units("degC") == "°C"
    assert words.units("kg/m3/h") == "kg/m³/h"
    assert words.units("cm-2") == "cm⁻²"
    assert words.units("mol/L") == "mol/L"


def test_durations_are_in_the_units_people_use() -> None:
    spans = [5.0, 59.6, 720.0, 3 * 3600 + 300, 2 * 86400 + 4 * 3600]
    said = ["5 s", "60 s", "12 min", "3 h 05 min", "2 d 4 h"]
    assert [words.duration(s) for s in spans] == said


def test_simulated_time_is_never_written_as_a_date() -> None:
    begin = SIMULATED_EPOCH
    assert words.moment(begin + 90_061, begin) == "1 d 01:01:01"
    assert "simulated clock" in words.period(begin, begin + 60)
    assert words.moment(1_740_000_000.0, 0) == "2025-02-19 21:20"
    said = words.period(1_740_000_000.0, 1_740_003_600.0)
    assert said == "2025-02-19 21:20 to 22:20 UTC (60 min)"
