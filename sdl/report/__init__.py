"""The report: one HTML file that needs nothing else, made from the journal alone.

    with Journal.open("journal.db", readonly=True) as journal:
        write(journal, "screen", Path("report.html"))

The same journal gives the same file. Nothing in it asks the network for anything; what was read is
escaped, and a content security policy forbids the rest.
"""

from pathlib import Path

from sdl.errors import ConfigError
from sdl.journal import Journal
from sdl.report.findings import gather
from sdl.report.fit import judged
from sdl.report.page import render

__all__ = ["write"]


def write(journal: Journal, campaign: str, output: Path, *, folder: Path | None = None) -> Path:
    """Write the report of a campaign, over an older one, and return where it is.

    Blocks for some seconds: the optimizer's process is asked how well its model predicts. Where it
    cannot say, the report says why.

    :param output: the HTML file; its folder exists.
    :param folder: the lab folder, for an optimizer of the lab's own.
    :raises JournalError: the journal cannot be read, or there is no such campaign.
    :raises ConfigError: `output` cannot be written.
    """
    findings = gather(journal, campaign)
    page = render(findings, judged(findings, folder))
    try:
        output.write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError.at(output, "", f"cannot be written: {error.strerror}") from error
    return output
