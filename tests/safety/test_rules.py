"""What a lab file says about safety, and where it may stand."""

from pathlib import Path

import pytest

from sdl import Lab
from sdl.errors import ConfigError, UnsafeError
from sdl.safety.rules import Watchdog
from tests.docs.blocks import read
from tests.safety import small_lab
from tests.safety.small_lab import Opened, run

ROOT = Path(__file__).parents[2]
RULES = """\
limits:
  oven: {low: 15, high: 130}
interlocks:
  - oven needs hood.flow > 0.4 m/s
"""


def lab(folder: Path, more: str, rules: str | None = None) -> Lab:
    path = small_lab.write(folder, more)
    if rules is not None:
        (folder / "safety.yaml").write_text(rules)
    return Lab.load(path)


def test_without_words_there_are_no_rules_and_a_watchdog(tmp_path: Path) -> None:
    plain = lab(tmp_path, "")
    assert (plain.safety.limits, plain.safety.interlocks, plain.inventory) == ({}, [], {})
    assert (plain.notify, plain.watchdog) == ([], Watchdog(timeout=2.0, beat=0.2))
    assert plain.safety.stop_timeout == 5.0


@pytest.mark.parametrize("off", ["off", "false", "'off'", "no"])
def test_the_watchdog_can_be_off(off: str, tmp_path: Path) -> None:
    assert lab(tmp_path, f"watchdog: {off}\n").watchdog is None


def test_the_watchdog_may_beat_exactly_in_time(tmp_path: Path) -> None:
    beat = lab(tmp_path, "watchdog: {timeout: 0.6, beat: 0.2}\n").watchdog
    assert beat == Watchdog(timeout=0.6, beat=0.2)


def test_rules_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    """A safety officer owns it; what the guard says names it, with its lines, on the twin too."""
    found = lab(tmp_path, "safety: safety.yaml\n", RULES).twin()
    assert found.safety.limits["oven"].place == "safety.yaml:2"
    assert str(found.safety.interlocks[0]) == "safety.yaml:4: oven needs hood.flow > 0.4 m/s"
    assert found.problems() == []


def test_a_mistake_in_the_rules_file_is_named_there_with_those_of_the_lab(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        lab(tmp_path, "safety: safety.yaml\nseafty: 3\n", RULES.replace("15", "150"))
    said = str(caught.value)
    for words in ("safety.yaml:2: limits.oven: low (150)", "lab.yaml:8: seafty", "lab.yaml:7: saf"):
        assert words in said


def test_a_rule_that_does_not_fit_the_lab_is_named_in_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"safety.yaml:4: interlocks.0: .*in m/s.* in km/h"):
        lab(tmp_path, "safety: safety.yaml\n", RULES.replace("m/s", "km/h"))
    (said,) = Lab.read(tmp_path / "lab.yaml").twin().problems()
    assert str(said).startswith(f"{tmp_path / 'safety.yaml'}:4: ")


@pytest.mark.parametrize(
    ("rules", "says"),
    [("", "empty"), ("- a", "list"), ("limits: [", "not valid YAML"), (None, "no such file")],
)
def test_an_unreadable_rules_file_is_no_lab_without_rules(
    rules: str | None, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        lab(tmp_path, "safety: safety.yaml\n", rules)


def test_a_lab_in_python_takes_the_same_words(tmp_path: Path) -> None:
    made = Lab.model_validate(
        {
            "lab": "made",
            "instruments": {"stage": {"driver": "ophyd.sim:SynAxis"}},
            "safety": {"limits": {"stage": {"high": 3, "max_step": 1}}},
            "inventory": {"vials": {"amount": 3, "taken_by": {"stage": "each"}}},
        }
    )
    assert made.problems() == []
    assert made.safety.limits["stage"].place == "<lab>"


def test_retries_are_for_what_may_be_repeated(tmp_path: Path) -> None:
    text = small_lab.LAB.replace('devices:oven"', 'devices:oven", retries: {set: 2, read: 3}')
    small_lab.write(tmp_path, lab=text)
    found = Lab.load(tmp_path / "lab.yaml").instruments["oven"].retries
    assert found == {"set": 2, "read": 3}
    dosing = text.replace("retries: {", "effect: relative, retries: {")
    small_lab.write(tmp_path, lab=dosing)
    with pytest.raises(ConfigError, match=r"retries.set: set is relative here.*never repeated"):
        Lab.load(tmp_path / "lab.yaml")


def test_a_classic_device_is_guarded_too(tmp_path: Path) -> None:
    """Its twin is the wall clock's: a reading that was taken just now counts on a virtual clock."""
    stage = """\
  stage: {driver: "ophyd.sim:SynAxis"}
safety:
  limits: {stage: {high: 3, max_step: 2}}
  interlocks: [oven needs stage < 2 and stage.velocity < 9]
"""

    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 50)
        assert await lab.ask("set", "stage", 2) == []
        with pytest.raises(UnsafeError, match=r"a step of 2\.5 from 0"):
            await lab.ask("set", "stage", 2.5)
        lab.bench.find("stage").set(2.5)
        with pytest.raises(UnsafeError, match=r"not so: stage = 2\.5 .*, stage\.velocity = 1"):
            await lab.ask("set", "oven", 50)

    run(tmp_path, stage, test)


def test_the_demo_lab_is_guarded_and_right() -> None:
    found = Lab.load(ROOT / "examples" / "flow_chemistry" / "lab.yaml")
    assert len(found.safety.limits) == 5
    assert set(found.inventory) == {"substrate", "amine", "solvent", "waste"}


def test_the_labs_of_the_how_to_are_right(tmp_path: Path) -> None:
    blocks = [b for b in read(ROOT / "docs" / "how-to" / "guard-a-lab.md") if b.file]
    assert {b.file for b in blocks} == {"lab.yaml", "safety.yaml"}
    for block in blocks:
        (tmp_path / str(block.file)).write_text(block.text)
    found = Lab.load(tmp_path / "lab.yaml")
    assert len(found.safety.interlocks) == 2
    assert found.safety.limits
    assert found.inventory
