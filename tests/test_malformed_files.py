"""Every malformed file gets one clear message per mistake, exit code 2, and never a traceback."""

from pathlib import Path

import pytest

from sdl import cli
from tests import malformed
from tests.malformed import CASES, Case


def write(folder: Path, case: Case | None = None) -> Path:
    texts = {"lab": malformed.LAB, "campaign": malformed.CAMPAIGN}
    if case is not None:
        assert case.old in texts[case.file], "the case changes nothing"
        changed = case.new if case.old == malformed.WHOLE else None
        texts[case.file] = (
            changed if changed is not None else texts[case.file].replace(case.old, case.new, 1)
        )
    (folder / "plans").mkdir()
    (folder / "plans" / "plans_here.py").write_text(malformed.PLAN)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "campaign.yaml"


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.main(["check", str(path)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_right_files_are_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, said = check(write(tmp_path), capsys)
    assert (code, "Traceback" in said) == (0, False), said


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_named_with_file_line_and_what_is_allowed(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code, said = check(write(tmp_path, case), capsys)
    assert code == 2, said
    assert "Traceback" not in said
    for words in (f"{case.file}.yaml", *case.says):
        assert words in said, f"{words!r} is not in: {said}"
    if case.line is not None:
        assert f"{case.file}.yaml:{case.line}: " in said, said


def test_there_are_at_least_forty_of_them():
    assert len(CASES) >= 40


def test_all_mistakes_of_both_files_come_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = write(tmp_path)
    lab = (tmp_path / "lab.yaml").read_text()
    (tmp_path / "lab.yaml").write_text(lab.replace("timeout: 0.5", "timeout: x"))
    path.write_text(path.read_text().replace("maximize", "up").replace("trials: 5", "trials: 0"))
    code, said = check(path, capsys)
    assert code == 2
    for words in ("lab.yaml:4", "campaign.yaml:10", "campaign.yaml:12"):
        assert words in said, said
