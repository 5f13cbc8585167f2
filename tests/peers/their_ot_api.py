"""opentrons_http_api_client 0.2.1 (ot_api, which PyLabRobot uses): pipettes step by step."""

# pyright: basic, reportMissingImports=false

import json
import sys
import urllib.error
import urllib.request  # noqa: F401
from urllib.parse import urlsplit

import ot_api
from ot_api.decorators import OTError

where = urlsplit(sys.argv[1])
ot_api.set_host(where.hostname)
ot_api.set_port(where.port)
ot_api.set_run(ot_api.runs.create())
ot_api.health.home()
left, right = ot_api.lh.add_mounted_pipettes()
pipette = left["pipetteId"]
names = {}
for name, slot in (("source", 1), ("plate", 2), ("tips", 3)):
    definition = {"namespace": "sdl", "version": 1, "parameters": {"loadName": name}}
    uri = ot_api.labware.define(definition)["data"]["definitionUri"]
    assert uri == f"sdl/{name}/1", uri
    ot_api.labware.add(name, "sdl", 1, slot, labware_id=name)
ot_api.lh.pick_up_tip("tips", "A1", pipette)
ot_api.lh.aspirate("source", "A1", 100.0, 500.0, pipette)
ot_api.lh.dispense("plate", "B1", 60.0, 500.0, pipette)
ot_api.lh.dispense_in_place(40.0, 500.0, pipette)
ot_api.lh.drop_tip("tips", "A1", pipette)
try:
    ot_api.lh.aspirate("source", "A1", 100.0, 500.0, pipette)
    refused = ""
except OTError as error:
    refused = str(error)
modules = ot_api.modules.list_connected_modules()
ot_api.modules.load_module(4, "temperatureModuleV2", modules[0]["id"])
ot_api.modules.temperature_module_set_temperature(37.0, modules[0]["id"])
sys.stdout.write(
    json.dumps(
        {
            "right": right,
            "refused": refused,
            "module": modules[0]["moduleModel"],
            "runs": [run["status"] for run in ot_api.runs.get_all()],
        }
    )
)
