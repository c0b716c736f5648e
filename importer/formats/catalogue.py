"""All formats, and how that of a file is found."""

from __future__ import annotations

from generator.channels import DatasetError
from importer.formats.caltrack import CALTRACK
from importer.formats.channel_files import ChannelFiles
from importer.formats.dataport import DATAPORT
from importer.formats.debs import DEBS
from importer.formats.green_button import GREEN_BUTTON
from importer.formats.low_carbon_london import LOW_CARBON_LONDON
from importer.formats.nilmtk import NILMTK
from importer.formats.refit import REFIT
from importer.formats.series import Format
from importer.formats.sources import Source
from importer.formats.uci import UCI


def formats() -> list[Format]:
    """All formats, each recognized before those after it."""
    return [ChannelFiles(), REFIT, UCI, LOW_CARBON_LONDON, CALTRACK, DATAPORT, DEBS, GREEN_BUTTON, NILMTK]


def format_of(source: Source, known: list[Format]) -> Format | None:
    """The format of a file, by its name and beginning; None if it is none of the known ones."""
    return next((each for each in known if each.recognizes(source)), None)


def named(name: str, known: list[Format]) -> Format:
    """The format of a name. Raises DatasetError for an unknown one."""
    found = next((each for each in known if each.name == name), None)
    if found is None:
        raise DatasetError(f"--format {name}: give one of {', '.join(each.name for each in known)}")
    return found
