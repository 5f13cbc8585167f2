from pathlib import Path

import pytest

from sdl import cli
from tests import soft_lab

Said = pytest.CaptureFixture[str]


def check(capsys: Said, *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["check", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_right_campaign_is_summed_up(tmp_path: Path, capsys: Said):
    code, out, err = check(capsys, soft_lab.write(tmp_path))
    assert (code, err) == (0, "")
    for words in ("temperature: 30 to 85 degC", "maximize y", "6 trials", "bath"):
        assert words in out


def test_checking_leaves_no_trace(tmp_path: Path, capsys: Said):
    path = soft_lab.write(tmp_path)
    before = {p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts}
    check(capsys, path)
    assert {p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts} == before


def test_a_lab_that_does_not_parse_hides_no_mistake_of_the_campaign(tmp_path: Path, capsys: Said):
    campaign = soft_lab.CAMPAIGN.replace("plan: heat\n", "plan: heat\nlab: l.yaml\n")
    path = soft_lab.write(tmp_path, campaign.replace("hold:", "held:"))
    (tmp_path / "l.yaml").write_text("lab: soft\ninstruments:\n  - {x\n")
    code, _, err = check(capsys, path)
    assert code == 2
    assert "l.yaml:4: not valid YAML" in err
    assert "parameters.held: heat has no such argument" in err
    assert "has no instrument" not in err  # nobody can know


def test_wrong_words_in_the_lab_hide_none_of_its_other_mistakes(tmp_path: Path, capsys: Said):
    lab = "lab: so ft\ninstruments:\n  bath: {driver: bath, stop: 1}\n  o: {drivre: x}\n"
    code, _, err = check(capsys, soft_lab.write(tmp_path, lab=lab))
    assert code == 2
    assert "lab.yaml:1: lab: should be letters" in err
    assert "instruments.bath.stop: is not an option of bath; allowed are: step" in err
    assert "instruments.o.driver: is missing" in err
    assert "campaign.yaml" not in err  # nothing is wrong with it


def test_a_campaign_that_does_not_parse_hides_no_mistake_of_its_lab(tmp_path: Path, capsys: Said):
    lab = soft_lab.LAB.replace("driver: bath", "driver: bad")
    code, _, err = check(capsys, soft_lab.write(tmp_path, "campaign: [", lab=lab))
    assert code == 2
    assert "campaign.yaml:1: not valid YAML" in err
    assert "instruments.bath.driver: there is no driver 'bad'" in err


def test_a_lab_that_is_not_there_is_the_campaigns_mistake(tmp_path: Path, capsys: Said):
    path = soft_lab.write(tmp_path, f"{soft_lab.CAMPAIGN}lab: other.yaml\n")
    code, _, err = check(capsys, path)
    assert code == 2
    assert f"campaign.yaml:{path.read_text().count(chr(10))}: lab: there is no lab file" in err


def test_the_lab_on_the_command_line_goes_before_the_campaigns(tmp_path: Path, capsys: Said):
    path = soft_lab.write(tmp_path, f"{soft_lab.CAMPAIGN}lab: other.yaml\n")
    assert check(capsys, path, "--lab", tmp_path / "lab.yaml")[0] == 0


def test_an_unknown_key_is_answered_with_the_known_ones(tmp_path: Path, capsys: Said):
    path = soft_lab.write(tmp_path, soft_lab.CAMPAIGN.replace("low: 30", "lo: 30"))
    _, _, err = check(capsys, path)
    assert "parameters.temperature.lo: is not a known key here; allowed are: high, low" in err


def test_wrong_words_in_the_campaign_hide_none_of_its_other_mistakes(tmp_path: Path, capsys: Said):
    wrong = soft_lab.CAMPAIGN.replace("low: 30, high", "low: 300, high")
    code, _, err = check(capsys, soft_lab.write(tmp_path, wrong.replace("plan: heat", "plan: hot")))
    assert code == 2
    assert "low must be below high" in err
    assert "there is no plan 'hot'" in err
    wrong = wrong.replace("bath: bath", "bath: oven").replace("pause", "paws")
    code, _, err = check(capsys, soft_lab.write(tmp_path, wrong))
    assert code == 2
    for words in ("low must be below high", "no instrument 'oven'", "fixed.paws: heat has no such"):
        assert words in err
    assert "needs 'temperature'" not in err  # it is there, if wrong
