"""The page in a real browser: no complaint, nothing asked of the network, and the table sorts."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--host-resolver-rules=MAP+*+~NOTFOUND "
    "--enable-logging=stderr --v=0 --virtual-time-budget=2000"
)


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return found or pytest.skip("no chromium to open the page in")


@pytest.fixture
def page(begin: Any, by_model: dict[str, Any], tmp_path: Path) -> Path:
    campaign = begin(objectives=2)
    for value in (30.0, 9.0, 100.0):
        campaign.trial(outcomes={"yield_": value, "waste": 5.0}, suggestion=by_model)
    campaign.trial("failed", cause="<script>document.title = 'broken in'</script>")
    file = tmp_path / "report.html"
    file.write_text(campaign.page(), encoding="utf-8")
    return file


def opened(chromium: str, page: Path, tmp_path: Path) -> tuple[str, str, list[str]]:
    """Return the page after its scripts ran, what the console said, and what was asked for."""
    log = tmp_path / "net.json"
    where = [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    command = [chromium, *(flag.replace("+", " ") for flag in FLAGS.split()), *where, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    text = log.read_text()
    try:
        events = json.loads(text)["events"]
    except ValueError:  # it was cut off when the browser ended
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    # the browser asks for things of its own, whose initiator is no page
    details = [e["params"] for e in events if "initiator" in e.get("params", {})]
    asked = [d["url"] for d in details if d["initiator"] != "not an origin"]
    return done.stdout, done.stderr, asked


@pytest.mark.peer
def test_the_page_loads_without_complaint_and_without_a_request(
    chromium: str, page: Path, tmp_path: Path
) -> None:
    text, console, asked = opened(chromium, page, tmp_path)
    assert "CONSOLE" not in console, console
    assert [url for url in asked if not url.startswith("file:")] == []
    assert "<title>screen on the twin of bench</title>" in text
    assert '<th scope="col"><button' in text  # the script ran: its hash is the policy's


@pytest.mark.peer
def test_a_page_that_asks_for_something_would_be_caught(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://example.invalid/a.png">', "utf-8")
    assert opened(chromium, page, tmp_path)[2] == ["http://example.invalid/a.png"]


@pytest.mark.peer
def test_pressing_a_heading_sorts_by_number(chromium: str, page: Path, tmp_path: Path) -> None:
    press = "document.querySelectorAll('table.sortable th button')[7].click();"
    whole = page.read_text(encoding="utf-8")
    # the page's own script with a press at its end: the policy has to allow this other text
    whole = whole.replace("script-src 'sha256-", "script-src 'unsafe-inline'; x '")
    page.write_text(whole.replace("</script>\n</body>", f"{press}</script>\n</body>"), "utf-8")
    text, _, _ = opened(chromium, page, tmp_path)
    rows = re.findall(r'<tr id="trial-(\d)"', text)
    assert rows == ["2", "1", "3", "4"]  # 9, 30, 100, and the one without outcome last
