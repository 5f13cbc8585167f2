"""What a campaign's results depend on, as the record keeps it."""

import hashlib
import inspect
import json
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sdl.library import Library

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

RECORDED = ("sdl", "bluesky", "ophyd-async", "ophyd", "botorch", "gpytorch", "torch", "numpy")


def specification(campaign: "Campaign") -> dict[str, Any]:
    """The campaign as JSON: what makes it the same campaign tomorrow.

    Of files that it names, the digest of what is in them belongs to that.
    """
    words = campaign.model_dump(mode="json", exclude={"plan", "lab"}, by_alias=True)
    space = campaign.space
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Library):
            words["parameters"][name] |= {"sha256": parameter.sha256, "rows": parameter.rows}
    if space.candidates is not None:
        words["candidates"] |= {"sha256": space.candidates.sha256}
    return {**words, "plan": campaign.plan_name}


def rules(lab: "Lab") -> dict[str, Any]:
    """The rules that hold in a lab, as JSON."""
    items = {name: item.model_dump(mode="json") for name, item in lab.inventory.items()}
    words = {"safety": lab.safety.model_dump(mode="json"), "inventory": items}
    return json.loads(json.dumps(words, default=str))


def versions(campaign: "Campaign", lab: "Lab", plan: Any) -> dict[str, str]:
    """What the results depend on beside the campaign: packages, Python, plan source, lab file."""
    found = {"python": platform.python_version()}
    for package in RECORDED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    try:
        source = f"sha256:{_digest(inspect.getsource(plan))}"
    except OSError:  # typed at a prompt
        source = "source not available"
    found["plan"] = f"{campaign.plan_name} {source}"
    found["lab"] = f"{lab.lab} sha256:{_digest(lab.model_dump_json(fallback=str))}"
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
