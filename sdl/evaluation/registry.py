"""Where evaluations are kept: a file each, beside the campaign, and which version is promoted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdl.errors import ConfigError
from sdl.evaluation.scores import Evaluation
from sdl.leaderboard.storing import replace
from sdl.modelversion import SHOWN, promoted, promoted_file

SCHEMA = 1


def place_of(campaign_file: Path, campaign: str) -> Path:
    """Return the folder of a campaign's evaluations; makes it.

    :raises ConfigError: it cannot be made.
    """
    place = promoted_file(campaign_file, campaign).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError.at(place, "", f"cannot be made: {error.strerror}") from error
    return place


def record(made: Evaluation, place: Path, *, time: float, who: str) -> Path:
    """Write an evaluation, over one of the same version and suite; return where.

    :param time: when, s since 1970.
    :raises ConfigError: it cannot be written.
    """
    use = str(made.version["use"]).rpartition(":")[2]
    file = place / f"{use}-{made.digest[:SHOWN]}-{made.suite}.json"
    _write(file, {"schema": SCHEMA, "time": time, "who": who, **made.as_json()})
    return file


def last_promoted(campaign_file: Path, campaign: str) -> Evaluation | None:
    """Return the evaluation with which the promoted version was promoted; None: none was.

    :raises ConfigError: it cannot be read.
    """
    known = promoted(campaign_file, campaign)
    if known is None:
        return None
    file = promoted_file(campaign_file, campaign).parent / str(known.get("evaluation"))
    try:
        return Evaluation.read(json.loads(file.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"is the evaluation of the promoted version, and cannot be read: {error}; bring it "
            f"back, or remove {promoted_file(campaign_file, campaign).name} to begin anew"
        )
        raise ConfigError.at(file, "", message) from error


def promote(
    made: Evaluation, file: Path, campaign_file: Path, *, time: float, who: str, note: str
) -> Mapping[str, Any]:
    """Say that this version may be used from now on; return what was written.

    :param file: where its evaluation stands.
    :raises ConfigError: it cannot be written; the promoted version is what it was.
    """
    words = {
        "schema": SCHEMA,
        "digest": made.digest,
        **made.version,
        "evaluation": file.name,
        "time": time,
        "who": who,
        "note": note,
    }
    _write(promoted_file(campaign_file, made.campaign), words)
    return words


def _write(file: Path, words: Mapping[str, Any]) -> None:
    text = json.dumps(words, indent=1, allow_nan=False, default=str) + "\n"
    try:
        replace(file, text.encode())
    except OSError as error:
        raise ConfigError.at(file, "", f"cannot be written: {error.strerror}") from error
