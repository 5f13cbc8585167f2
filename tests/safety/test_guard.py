"""The guard on a twin: what it lets through, what it refuses, and what it says then."""

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl.errors import UnsafeError
from sdl.journal.records import Booking
from tests.safety.small_lab import EVERYTHING, Opened, run

LIMITS = """\
safety:
  limits:
    oven: {low: 15, high: 130, max_step: 100}
    pump: {low: -20, high: 20}
    oven.fan: {high: 12}
"""
RAMP = "safety: {limits: {oven: {max_ramp: 40}, pump: {max_ramp: 10}}}\n"
FLOW = "safety: {interlocks: ['oven needs hood.flow > 0.4 m/s']}\n"
STOCK = """\
inventory:
  substrate: {amount: 25, units: mL, taken_by: {pump: negative}, low: 10}
  waste: {amount: 0, capacity: 30, units: mL, filled_by: {pump: positive}}
  vials: {amount: 2, taken_by: {sampler: each}}
"""


async def refused(lab: Opened, command: str, path: str, argument: Any = None) -> str:
    with pytest.raises(UnsafeError) as caught:
        await lab.ask(command, path, argument)
    return str(caught.value)


# -- ownership and STOP


def test_an_instrument_that_is_not_held_is_refused(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        with pytest.raises(UnsafeError, match=r"oven is not held .* holds: hood, pump"):
            await lab.guard.check(lab.action("set", "oven", 50), {"pump", "hood"})
        await lab.guard.check(lab.action("set", "oven.fan", 5), {"oven"})

    run(tmp_path, "", test)


@pytest.mark.parametrize("path", ["", "stranger", "stranger.oven"])
def test_what_is_no_instrument_of_the_lab_is_refused(path: str, tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        assert "no instrument of small; known are: oven, pump" in await refused(lab, "set", path, 1)
        assert "no instrument" in await refused(lab, "unstage", path)

    run(tmp_path, "", test)


def test_a_closed_guard_refuses_what_acts_and_never_a_stop_or_a_reading(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        lab.guard.close("STOP by ada")
        lab.guard.close("something later")
        for command in ("set", "trigger", "kickoff", "prepare", "stage", "configure", "complete"):
            said = await refused(lab, command, "oven", 50)
            assert "STOP is in force: STOP by ada; refused: " in said
        for command in ("stop", "read", "locate", "collect", "unstage"):
            assert await lab.ask(command, "oven") == []

    run(tmp_path, "", test)


def test_a_stop_that_comes_while_the_guard_asks_instruments_still_holds(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        lab.slow.add("hood.flow")
        asking = asyncio.create_task(lab.ask("set", "oven", 50))
        await asyncio.sleep(1)
        lab.guard.close("STOP by ada")
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        assert "STOP by ada" in str(answer)
        assert lab.guard._interlocks.watched == 0

    run(tmp_path, FLOW, test)


# -- limits


@pytest.mark.parametrize(
    ("path", "argument", "says"),
    [
        ("oven", 131, "131 is above high, 130"),
        ("oven", 14.9, "14.9 is below low, 15"),
        ("oven", math.nan, "nan is no finite number"),
        ("oven", math.inf, "inf is no finite number"),
        ("oven", True, "True is no finite number"),
        ("oven", "50", "'50' is no finite number"),
        ("oven", [50], "[50] is no finite number"),
        ("oven", None, "None is no finite number"),
        ("oven", 10**400, "is no finite number"),
        ("oven", 121, "a step of 101 from 20; max_step is 100"),
        ("oven.fan", 12.5, "limits of oven.fan (in 1/s): 12.5 is above high, 12"),
        ("pump", -20.5, "-20.5 is below low, -20"),
    ],
)
def test_a_value_outside_its_limits_is_refused(
    path: str, argument: Any, says: str, tmp_path: Path
) -> None:
    async def test(lab: Opened) -> None:
        said = await refused(lab, "set", path, argument)
        line = {"oven": 9, "pump": 10, "oven.fan": 11}[path]
        assert said.startswith(f"lab.yaml:{line}: limits of {path}")
        assert says in said
        assert said.endswith(f"refused: {lab.action('set', path, argument)} (heating/7, step 3)")

    run(tmp_path, LIMITS, test)


def test_what_is_within_its_limits_passes(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        for path, value in (("oven", 15), ("oven", 120), ("oven", np.float64(99)), ("pump", -20)):
            assert await lab.ask("set", path, value) == []
        assert await lab.ask("set", "oven.fan", -3) == []  # the oven's limits are not its fan's
        assert await lab.ask("set", "pump.rate", 1000) == []
        assert await lab.ask("trigger", "oven") == []

    run(tmp_path, LIMITS, test)


@pytest.mark.parametrize("how", ["silent", "mute", "nan"])
def test_a_step_from_nobody_knows_where_is_refused(how: str, tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        if how == "nan":
            lab.values["oven.temperature"] = math.nan
        else:
            getattr(lab, how).add("oven.temperature")
        assert "nobody can tell where it is now" in await refused(lab, "set", "oven", 50)

    run(tmp_path, LIMITS, test)


def test_one_question_that_is_lost_is_asked_again(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        lab.silent.add("oven.temperature")
        asking = asyncio.create_task(lab.ask("set", "oven", 50))
        await asyncio.sleep(0.3)
        lab.silent.clear()
        assert await asking == []

    run(tmp_path, LIMITS, test)


def test_a_ramp_counts_from_the_setting_before(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        assert "the first one, counts as one in a minute" in await refused(lab, "set", "oven", 61)
        await lab.ask("set", "oven", 60)
        lab.values["oven.setpoint"] = 60
        await asyncio.sleep(30)
        said = await refused(lab, "set", "oven", 81)
        assert "a change of 21 30 s after the last one; max_ramp is 40 a minute" in said
        await lab.ask("set", "oven", 60)  # sent again after a restart of the plan: no change
        lab.values["oven.setpoint"] = 20  # but somebody changed it at the panel
        assert "a change of 40" in await refused(lab, "set", "oven", 60)
        await asyncio.sleep(60)
        await lab.ask("set", "oven", 60)

    run(tmp_path, RAMP, test)


def test_of_two_settings_at_once_the_second_sees_the_first(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        lab.slow.add("hood.flow")
        both = (lab.ask("set", "oven", value) for value in (60, -20))
        answers = await asyncio.gather(*both, return_exceptions=True)
        assert answers[0] == []
        assert "a change of 80 0 s after" in str(answers[1])

    rule = "interlocks: ['oven needs hood.flow > 0.4 m/s']"
    run(tmp_path, RAMP.replace("safety: {", f"safety: {{{rule}, "), test)


def test_a_ramp_of_doses_is_their_volume_in_time(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "pump", 10)
        await asyncio.sleep(30)
        assert "a change of 6 30 s after" in await refused(lab, "set", "pump", -6)
        await lab.ask("set", "pump", 5)

    run(tmp_path, RAMP, test)


def test_after_the_safe_state_a_ramp_begins_where_the_instrument_is(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 60)
        lab.guard.made_safe(["oven"])
        assert "the first one" in await refused(lab, "set", "oven", 80)
        await lab.ask("set", "oven", 55)

    run(tmp_path, RAMP, test)


# -- interlocks


def test_an_interlock_that_is_not_satisfied_refuses_with_values_and_ages(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        lab.values["hood.flow"] = 0.3
        said = await refused(lab, "set", "oven", 50)
        assert said == (
            "lab.yaml:7: oven needs hood.flow > 0.4 m/s: not so: hood.flow = 0.3 m/s (0.0 s old); "
            "refused: set oven 50 (heating/7, step 3)"
        )
        assert lab.guard._interlocks.watched == 0

    run(tmp_path, FLOW, test)


@pytest.mark.parametrize(
    ("target", "covers", "leaves"),
    [
        ("oven", ["oven", "oven.fan"], ["pump", "pump.rate"]),
        ("oven.fan", ["oven.fan"], ["oven", "pump"]),
        ("oven.setpoint", ["oven", "oven.fan"], ["pump"]),
        ("pump", ["pump", "pump.rate"], ["oven"]),
    ],
)
def test_an_interlock_covers_its_target(
    target: str, covers: list[str], leaves: list[str], tmp_path: Path
) -> None:
    async def test(lab: Opened) -> None:
        lab.values["hood.flow"] = 0.0
        for command in ("set", "trigger", "kickoff", "prepare", "stage", "configure"):
            for path in covers:
                assert "not so" in await refused(lab, command, path, 1)
            for path in leaves:
                await lab.ask(command, path, 1)
        for command in ("stop", "unstage", "read", "collect"):
            await lab.ask(command, covers[0])

    run(tmp_path, FLOW.replace("oven needs", f"{target} needs"), test)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("silent", "hood.flow: hood.flow: nothing came back"),
        ("mute", "hood.flow: did not answer in 5 s"),
        ("nan", "hood.flow: 'nan' is neither a finite number"),
        ("text", "hood.flow is text and 0.4 m/s is a number"),
        ("bool", "hood.flow is true or false and 0.4 m/s is a number"),
    ],
)
def test_a_signal_that_cannot_be_read_refuses(how: str, says: str, tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        values = {"nan": math.nan, "text": "much", "bool": True}
        if how in values:
            lab.values["hood.flow"] = values[how]
        else:
            getattr(lab, how).add("hood.flow")
        said = await refused(lab, "set", "oven", 50)
        assert "cannot be evaluated: " in said
        assert says in said

    run(tmp_path, FLOW, test)


def test_a_reading_that_is_too_old_refuses_though_the_driver_still_gives_it(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 50)
        await asyncio.sleep(9)
        await lab.ask("set", "oven", 50)
        await asyncio.sleep(2)
        said = await refused(lab, "set", "oven", 50)
        assert "hood.pressure: its reading is 11.0 s old; at most 10 s are allowed" in said
        lab.bench.find("hood").backend.publish(1.0)
        await lab.ask("set", "oven", 50)
        backend = lab.bench.find("hood").backend
        backend.newest = {**backend.newest, "alarm_severity": 3}
        assert "its value is invalid" in await refused(lab, "set", "oven", 50)

    rule = "{rule: 'oven needs hood.pressure < 2 bar', max_age: 10, period: 3600}"
    run(tmp_path, f"safety: {{interlocks: [{rule}]}}\n", test)


def test_a_rule_may_allow_what_was_pushed_more_age_than_the_driver_does(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await asyncio.sleep(4000)  # the driver allows 3600
        await lab.ask("set", "oven", 50)
        await asyncio.sleep(1401)
        assert "hood.pressure: hood.pressure: the newest" in await refused(lab, "set", "oven", 50)
        lab.bench.find("hood").backend.publish(1.0)
        await lab.ask("set", "oven", 50)
        lab.bench.find("hood").backend.invalidate()  # it is known to be offline
        assert "nothing has arrived" in await refused(lab, "set", "oven", 50)

    rule = "{rule: 'oven needs hood.pressure < 2 bar', max_age: 5400, period: 3600}"
    run(tmp_path, f"safety: {{interlocks: [{rule}]}}\n", test)


def test_a_signal_is_read_past_its_cache(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        flow = lab.bench.find("hood.flow")
        await flow.stage()
        await asyncio.sleep(0.1)
        lab.values["hood.flow"] = 0.1
        assert await flow.get_value() == 0.5
        assert "hood.flow = 0.1 m/s" in await refused(lab, "set", "oven", 50)
        await flow.unstage()

    run(tmp_path, FLOW, test)


def test_what_cannot_be_read_counts_though_the_rest_would_be_enough(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        lab.silent.add("hood.mode")
        assert "cannot be evaluated" in await refused(lab, "set", "oven", 50)

    rule = 'oven needs hood.closed or hood.mode == "auto"'
    run(tmp_path, f"safety:\n  interlocks:\n    - {rule}\n", test)


def test_a_lab_whose_rules_cannot_be_evaluated_does_not_start(tmp_path: Path) -> None:
    more = FLOW.replace("]", ", 'pump needs hood.closed', 'pump needs oven.temperature < 90']")

    async def test(lab: Opened) -> None:
        lab.silent.add("hood.flow")
        lab.mute.add("oven.temperature")
        with pytest.raises(UnsafeError) as caught:
            await lab.guard.start()
        said = str(caught.value)
        assert "oven needs hood.flow" in said
        assert "oven.temperature: did not answer" in said
        assert "hood.closed" not in said
        assert "not been started" in await refused(lab, "set", "oven", 50)
        lab.silent.clear()
        lab.mute.clear()
        lab.values["hood.flow"] = 0.0  # it says no, and that can be evaluated
        await lab.guard.start()
        await lab.ask("set", "pump", 1)

    run(tmp_path, more, test, start=False)


# -- watching


def test_an_interlock_that_fails_while_the_oven_heats_trips_once(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 80)
        status = lab.bench.find("oven").set(80)
        await asyncio.sleep(20)
        assert lab.values["oven.temperature"] == pytest.approx(40, abs=1.5)
        assert (lab.trips, lab.guard.closed) == ([], None)
        lab.values["hood.flow"] = 0.1
        await asyncio.sleep(1.1)
        assert len(lab.trips) == 1
        assert lab.trips[0].startswith("lab.yaml:7: oven needs hood.flow > 0.4 m/s: not so: ")
        assert "hood.flow = 0.1 m/s" in lab.trips[0]
        said = await refused(lab, "set", "pump", 1)
        assert "STOP is in force: an interlock tripped: " in said
        await asyncio.sleep(600)
        assert len(lab.trips) == 1
        await asyncio.gather(status.task, return_exceptions=True)

    run(tmp_path, FLOW, test)


def test_a_signal_that_falls_silent_while_the_oven_heats_trips(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 80)
        lab.mute.add("hood.flow")
        await asyncio.sleep(6.1)  # one period, and the time-out
        assert "cannot be evaluated: hood.flow: did not answer" in lab.trips[0]

    run(tmp_path, FLOW, test)


def test_one_silent_rule_does_not_keep_the_others_from_being_watched(tmp_path: Path) -> None:
    more = "safety:\n  interlocks:\n    - {rule: oven needs hood.count > 0, max_age: 600}\n"

    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 80)
        lab.mute.add("hood.count")
        lab.values["hood.flow"] = 0.1
        await asyncio.sleep(1.1)
        assert "hood.flow" in lab.trips[0]

    run(tmp_path, more + "    - oven needs hood.flow > 0.4 m/s\n", test)


def test_nothing_is_watched_before_the_first_message_and_after_the_safe_state(
    tmp_path: Path,
) -> None:
    async def test(lab: Opened) -> None:
        tasks = len(asyncio.all_tasks())
        lab.values["hood.flow"] = 0.1
        await asyncio.sleep(10)
        lab.values["hood.flow"] = 0.5
        for _ in range(3):
            await lab.ask("set", "oven", 80)
        assert len(asyncio.all_tasks()) == tasks + 1
        lab.guard.made_safe(["pump"])
        assert lab.guard._interlocks.watched == 1
        lab.guard.made_safe(["oven"])
        lab.values["hood.flow"] = 0.1
        await asyncio.sleep(10)
        assert lab.trips == []
        assert len(asyncio.all_tasks()) == tasks
        lab.values["hood.flow"] = 0.5
        await lab.ask("set", "oven.fan", 2)
        lab.values["hood.flow"] = 0.1
        await asyncio.sleep(2)
        assert len(lab.trips) == 1

    run(tmp_path, FLOW, test)


def test_the_period_is_that_of_the_rule(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 80)
        lab.values["hood.flow"] = 0.1
        await asyncio.sleep(29)
        assert lab.trips == []
        await asyncio.sleep(2)
        assert len(lab.trips) == 1

    rule = "{rule: oven needs hood.flow > 0.4 m/s, period: 30}"
    run(tmp_path, f"safety: {{interlocks: [{rule}]}}\n", test)


def test_a_watch_that_breaks_trips(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await lab.ask("set", "oven", 80)
        lab.guard._interlocks._find = lambda rule: 1 / 0  # type: ignore[assignment,method-assign]
        await asyncio.sleep(2)
        assert lab.trips == [
            "an interlock is not watched any more: ZeroDivisionError: division by zero"
        ]

    run(tmp_path, FLOW, test)


# -- inventory


def test_what_is_let_through_is_booked(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        assert await lab.ask("set", "pump", -12.5) == [Booking("substrate", -12.5)]
        assert await lab.ask("set", "pump", 12.5) == [Booking("waste", 12.5)]
        assert await lab.ask("trigger", "sampler") == [Booking("vials", -1)]
        assert await lab.ask("stage", "sampler") == []
        assert await lab.ask("set", "pump.rate", 12.5) == []
        assert await lab.ask("set", "pump", 0.0) == []

    run(tmp_path, STOCK, test)


def test_a_dose_that_the_stock_does_not_give_is_refused(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        assert await refused(lab, "set", "pump", -15) == (
            "lab.yaml:8: inventory: substrate: 12 mL are left, 15 mL asked; "
            "refused: set pump -15 (heating/7, step 3)"
        )
        await lab.ask("set", "pump", -12)

    run(tmp_path, STOCK, test, balances={"substrate": 12.0})


def test_a_dose_that_would_run_over_is_refused(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        said = await refused(lab, "set", "pump", 5.5)
        assert "waste: there is room for 5 mL, 5.5 mL would come" in said

    run(tmp_path, STOCK, test, balances={"waste": 25.0})


def test_what_is_not_in_the_journal_yet_is_kept_back(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        first = lab.action("set", "pump", -15)
        both = (lab.guard.check(first, EVERYTHING), lab.ask("set", "pump", -15))
        answers = await asyncio.gather(*both, return_exceptions=True)
        assert answers[0] == [Booking("substrate", -15)]
        assert "10 mL are left, 15 mL asked" in str(answers[1])
        lab.left["substrate"] = 10.0
        lab.guard.booked(first)
        assert "10 mL are left, 15 mL asked" in await refused(lab, "set", "pump", -15)
        await lab.ask("set", "pump", -10)

    run(tmp_path, STOCK, test)


def test_what_is_not_done_after_all_is_given_back(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        action = lab.action("trigger", "sampler")
        await lab.guard.check(action, EVERYTHING)
        await lab.ask("trigger", "sampler")
        assert "vials: 0 are left, 1 asked" in await refused(lab, "trigger", "sampler")
        lab.guard.unbooked(action)
        await lab.ask("trigger", "sampler")

    run(tmp_path, STOCK, test)


@pytest.mark.parametrize(
    ("command", "argument"), [("set", "all"), ("set", math.nan), ("set", None), ("kickoff", None)]
)
def test_an_amount_that_nobody_can_tell_is_refused(
    command: str, argument: Any, tmp_path: Path
) -> None:
    async def test(lab: Opened) -> None:
        assert "nobody can tell how much" in await refused(lab, command, "pump", argument)

    run(tmp_path, STOCK, test)


def test_a_balance_that_is_no_number_refuses(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        assert "the journal says nan" in await refused(lab, "set", "pump", -1)

    run(tmp_path, STOCK, test, balances={"substrate": math.nan})


def test_a_low_stock_is_told(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        assert lab.guard.low() == []
        await lab.ask("set", "pump", -16)
        assert lab.guard.low() == ["substrate: 9 mL are left (low: 10 mL)"]

    run(tmp_path, STOCK, test)


def test_a_refused_action_keeps_nothing_back_and_begins_no_watch(tmp_path: Path) -> None:
    async def test(lab: Opened) -> None:
        await refused(lab, "set", "pump", -30)
        assert lab.guard._interlocks.watched == 0
        await lab.ask("set", "pump", -25)

    run(tmp_path, STOCK + FLOW.replace("oven", "pump"), test)


# -- names


def test_a_device_is_known_by_its_place_in_the_lab(tmp_path: Path) -> None:
    from ophyd.sim import SynAxis
    from ophyd_async.core import soft_signal_rw

    async def test(lab: Opened) -> None:
        oven = lab.bench.instruments["oven"]
        assert lab.guard.path_of(oven) == "oven"
        assert lab.guard.path_of(oven.fan) == "oven.fan"
        assert lab.guard.path_of(lab.bench.find("hood").pressure) == "hood.pressure"
        stage = SynAxis(name="oven")  # the name alone does not make it ours
        foreign = soft_signal_rw(float, name="oven")
        for stranger in (stage, foreign, None, object()):
            assert lab.guard.path_of(stranger) == ""
        lab.bench.instruments["stage"] = stage
        assert lab.guard.path_of(stage) == "stage"
        assert lab.guard.path_of(stage.velocity) == "stage.velocity"

    run(tmp_path, "", test)
