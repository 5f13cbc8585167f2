"""A bench folder with a strategy of its own, good or bad."""

from pathlib import Path

import pytest

OWN = """\
import os
import time

SHIFT = 0


class Own:
    def __init__(self, task, *, seed, how="well"):
        self.space, self.how, self.count = task.space, how, 0

    def ingest(self, points):
        pass

    def suggest(self, n, pending=(), **context):
        self.count += 1
        if self.how == "raises" and self.count > 1:
            raise ValueError("the matrix is singular")
        if self.how == "dies" and self.count > 1:
            os.write(2, b"a last word\\n")
            os._exit(3)
        if self.how == "hangs" and self.count > 1:
            time.sleep(600)
        if self.how == "strays" and self.count > 1:
            return [{name: 1e9 for name in self.space.parameters}] * n
        rows = self.space.candidates.points(self.space.parameters)
        return [rows[(7 * self.count + k + SHIFT) % len(rows)] for k in range(n)]

    @property
    def provenance(self):
        return {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose `optimizers/own.py` tries row after row, or misbehaves on request."""
    (tmp_path / "optimizers").mkdir()
    (tmp_path / "optimizers" / "own.py").write_text(OWN, encoding="utf-8")
    rows = "\n".join(f"{x},{(x - 3) ** 2}" for x in range(40))
    (tmp_path / "t.csv").write_text(f"x,loss\n{rows}\n", encoding="utf-8")
    return tmp_path
