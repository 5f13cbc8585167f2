"""The reference says what the code says."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sdl import errors
from sdl.wires.mqtt_session import BrokerAddress
from sdl.wires.urls import KINDS, SERIAL_OPTIONS, open_wire
from sdl.wires.zmq import OPTIONS
from tests.docs import tables

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", [page.name for page, _, _ in tables.pages()])
def test_its_tables_are_those_of_the_code(page: str) -> None:
    (found,) = [entry for entry in tables.pages() if entry[0].name == page]
    assert found[1] == found[2], "run: python -m tests.docs.tables"


def test_every_table_stands_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in tables.REFERENCE.glob("*.md"))
    assert {match[2] for match in tables.MARKED.finditer(text)} == set(tables.TABLES)


def test_the_error_tree_has_every_error() -> None:
    drawn = set(re.findall(r"\w+Error", tables.tree()))
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SdlError)
    }
    assert raised == drawn


def test_every_kind_of_wire_and_every_option_is_told() -> None:
    text = (DOCS / "reference" / "wire-urls.md").read_text("utf-8")
    for _, example in KINDS.values():
        assert f"`{example}`" in text
        open_wire(example)
    for option in (*SERIAL_OPTIONS, *OPTIONS, "client_id", "keepalive"):
        assert f"`{option}`" in text
    assert BrokerAddress.of("mqtt://b?client_id=x&keepalive=5").keepalive == 5


def test_every_driver_of_ours_is_in_the_catalogue() -> None:
    text = (DOCS / "reference" / "instruments.md").read_text("utf-8")
    ours = [p.name for p in entry_points(group="sdl.drivers") if p.value.startswith("sdl.")]
    assert ours
    assert all(f"## {name}: " in text for name in ours)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_page_names_a_machine_s_folder() -> None:
    for page in PAGES:
        assert not re.search(r"/(work|root|home|Users)/", page.read_text("utf-8")), page.name


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md":
            assert f"({page.relative_to(DOCS).as_posix()})" in index
