#!/usr/bin/env bash
# Use an installed sdl as a user does, in the current folder. Argument: where it must come from.
set -euxo pipefail
export COLUMNS=120 PYTHONWARNINGS=default
python - "$1" <<'PYTHON'
import importlib
import sys
from importlib.metadata import entry_points, version
from importlib.resources import files

import sdl

assert sdl.__file__.startswith(sys.argv[1]), sdl.__file__
assert version("sdl") == sdl.__version__
rooms = [group for group in entry_points().groups if group.startswith("sdl.")]
points = [p for group in rooms if group != "sdl.packages" for p in entry_points(group=group)]
assert len(rooms) >= 6 and points, rooms
for point in points:
    assert sys.modules[point.load().__module__].__file__.startswith(sys.argv[1]), point
for name in ("sdl.drivers.ne1000", "sdl.simulators.ne1000", "sdl.plans", "sdl.optimizers"):
    importlib.import_module(name)
package = files("sdl")
for name in ("py.typed", "journal/migrations/script.py.mako", "report/page.html", "scaffold", "scaffold_driver"):
    assert package.joinpath(name).is_file() or package.joinpath(name).is_dir(), name
PYTHON
sdl --version
sdl init mylab
sdl check mylab/campaign.yaml
sdl new driver my_bath --wire serial --into mylab
sdl instruments --lab mylab/my_bath_lab.yaml --ping --twin
sdl instruments --catalogue
sdl run mylab/campaign.yaml --twin
sdl status mylab --twin
sdl report mylab/campaign.yaml --twin
test -s mylab/report.html
