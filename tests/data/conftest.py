"""Journals with runs in them: composed as Bluesky composes them, written as the runtime writes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_model import compose_run

from sdl.journal import Journal, Trial

W = 40
AXIS = np.linspace(300.0, 700.0, W)
KEYS: dict[str, dict[str, Any]] = {
    "temperature": {"dtype": "number", "shape": [], "source": "sim", "dtype_numpy": "<f8"},
    "counts": {"dtype": "integer", "shape": [], "source": "sim", "dtype_numpy": "<i8"},
    "status": {"dtype": "string", "shape": [], "source": "sim", "dtype_numpy": "|S40"},
    "spectrum": {"dtype": "array", "shape": [W], "source": "sim", "dtype_numpy": "<f8"},
    "both": {"dtype": "array", "shape": [2, W], "source": "sim", "dtype_numpy": "<f8"},
    "small": {"dtype": "array", "shape": [2, 3], "source": "sim", "dtype_numpy": "<i8"},
}

Documents = list[tuple[str, dict[str, Any]]]


def readings(n: int) -> dict[str, Any]:
    """What event `n` holds; `both` is the axis above an intensity, one pixel of it dark."""
    intensity = np.exp(-(((AXIS - 500 - 10 * n) / 50) ** 2))
    intensity[7] = np.nan
    return {
        "temperature": 60.5 + n,
        "counts": 2**40 + n,
        "status": f"ok {n}",
        "spectrum": intensity,
        "both": np.stack([AXIS, intensity]),
        "small": np.arange(6).reshape(2, 3) + n,
    }


def compose(events: int = 3, keys: Mapping[str, Any] = KEYS, **metadata: Any) -> Documents:
    """A run's documents, from start to stop."""
    run = compose_run(metadata={"plan_name": "titrate", **metadata})
    documents: Documents = [("start", dict(run.start_doc))]
    stream = run.compose_descriptor(name="primary", data_keys=dict(keys))
    documents.append(("descriptor", dict(stream.descriptor_doc)))
    for n in range(events):
        data = {key: value for key, value in readings(n).items() if key in keys}
        times = dict.fromkeys(data, 1000.0 + n)
        event = stream.compose_event(data=data, timestamps=times, seq_num=n + 1)
        documents.append(("event", dict(event)))
    documents.append(("stop", dict(run.compose_stop())))
    return documents


def uid(documents: Documents) -> str:
    return documents[0][1]["uid"]


def write(journal: Journal, documents: Sequence[Any], run: str, trial: Trial | None = None) -> None:
    for n, (name, doc) in enumerate(documents):
        journal.add_document(trial, run, name, doc, time=100.0 + n)


def add_run(journal: Journal, trial: Trial | None = None, **composed: Any) -> str:
    """Write a whole run, and return its uid."""
    documents = compose(**composed)
    write(journal, documents, uid(documents), trial)
    return uid(documents)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    """The runtime's journal: campaign `screen` of the lab `bench`."""
    with Journal.open(url) as journal:
        spec = {"objectives": {"yield": "max"}, "budget": {"trials": 20}}
        journal.add_campaign("screen", spec, lab="bench", twin=False, versions={}, time=0.0)
        yield journal


@pytest.fixture
def trial(journal: Journal) -> Trial:
    return journal.suggest("screen", [({"temperature": 60.0}, {"generator": "sobol"})], time=1.0)[0]
