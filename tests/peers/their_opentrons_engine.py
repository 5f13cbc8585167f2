"""opentrons 8.5.1: its engine looks through JSON protocols, as a robot does before a run."""

# pyright: basic, reportMissingImports=false

import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

kept = os.environ["OT_API_CONFIG_DIR"] = tempfile.mkdtemp()  # else it writes into the home folder

from opentrons.cli.analyze import analyze
from opentrons_shared_data.labware import load_definition

LABWARE = {
    "plate": ("nest_96_wellplate_200ul_flat", 2, "2"),
    "tips": ("opentrons_96_tiprack_300ul", 1, "3"),
    "fixedTrash": ("opentrons_1_trash_1100ml_fixed", 1, "12"),
}


def command(kind, **params):
    return {"commandType": kind, "params": params}


def at(labware, well, **more):
    return {"pipetteId": "p", "labwareId": labware, "wellName": well, **more}


def moving(kind, labware, well, volume):
    where = {"origin": "bottom", "offset": {"x": 0, "y": 0, "z": 1}}
    return command(kind, **at(labware, well, volume=volume, flowRate=90.0, wellLocation=where))


def protocol(name, *steps):
    definitions = {}
    loading = [command("loadPipette", pipetteName="p300_single_gen2", mount="left", pipetteId="p")]
    for ident, (load_name, version, slot) in LABWARE.items():
        uri = f"opentrons/{load_name}/{version}"
        definitions[uri] = load_definition(load_name, version)
        loading.append(
            command(
                "loadLabware",
                labwareId=ident,
                loadName=load_name,
                namespace="opentrons",
                version=version,
                location={"slotName": slot},
                displayName=ident,
            )
        )
    return {
        "$otSharedSchema": "#/protocol/schemas/8",
        "schemaVersion": 8,
        "metadata": {"protocolName": name, "author": "sdl", "created": 0},
        "robot": {"model": "OT-2 Standard", "deckId": "ot2_standard"},
        "liquidSchemaId": "opentronsLiquidSchemaV1",
        "liquids": {},
        "labwareDefinitionSchemaId": "opentronsLabwareSchemaV2",
        "labwareDefinitions": definitions,
        "commandSchemaId": "opentronsCommandSchemaV8",
        "commands": [*loading, *steps],
        "commandAnnotationSchemaId": "opentronsCommandAnnotationSchemaV1",
        "commandAnnotations": [],
    }


PICK, DROP = command("pickUpTip", **at("tips", "A1")), command("dropTip", **at("fixedTrash", "A1"))
PROTOCOLS = [
    protocol(
        "transfer",
        PICK,
        moving("aspirate", "plate", "A1", 100.0),
        moving("dispense", "plate", "B1", 100.0),
        DROP,
    ),
    protocol("no tip", moving("aspirate", "plate", "A1", 100.0)),
    protocol("two tips", PICK, command("pickUpTip", **at("tips", "B1")), DROP),
    protocol("too much out", PICK, moving("dispense", "plate", "A1", 10.0)),
    protocol("unknown pipette", command("pickUpTip", **{**at("tips", "A1"), "pipetteId": "q"})),
]


def analysed(wanted, folder):
    file, result = Path(folder) / "protocol.json", Path(folder) / "result.json"
    file.write_text(json.dumps(wanted), "utf-8")
    with contextlib.suppress(SystemExit):
        analyze.main([f"--json-output={result}", str(file)], standalone_mode=False)
    said = json.loads(result.read_text("utf-8"))
    steps = [[each["commandType"], each["status"]] for each in said["commands"]]
    error = said["errors"][0] if said["errors"] else None
    return {"protocol": wanted, "steps": steps, "result": said["result"], "error": error}


try:
    sys.stdout.write(json.dumps([analysed(each, kept) for each in PROTOCOLS]))
finally:
    shutil.rmtree(kept)
