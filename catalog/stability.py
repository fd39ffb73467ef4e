"""Decides when a series is stable: a pure judgement of what came, and of how long nothing did.

DICOM has no end of a series. Stable is one of which nothing more came for some time, by a clock that only
runs forward, or of which everything is here that its source told of. What comes later opens it again.
"""

from dataclasses import dataclass

QUIET_SECONDS = 60.0
"""How long nothing may come, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class OpenSeries:
    """A series of which something came since its last event, all of it settled."""

    series_instance_uid: str
    last: int
    """Number of the last reception."""
    instances: int
    """That are here."""
    told: int | None = None
    """How many its source told of."""
    told_by: str = ""
    """Name of that source."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Since when nothing came after some reception."""

    last: int
    since: float
    """Seconds of a clock that only runs forward."""


@dataclass(frozen=True, slots=True)
class Stable:
    """Nothing more is expected."""

    rule: str
    """Why, in words."""


def judge(
    series: OpenSeries, watched: Watched | None, now: float, quiet_seconds: float = QUIET_SECONDS
) -> Watched | Stable:
    """Say whether a series is stable, or since when it is watched.

    Parameters
    ----------
    watched
        What this function said when it was asked before; `None` at first, and after a restart.
    now, quiet_seconds
        Seconds, `now` of a clock that only runs forward.
    """
    if series.told is not None and series.instances >= series.told:
        return Stable(f"the {series.told:,} instances that {series.told_by} told of are here")
    if watched is None or watched.last != series.last:
        return Watched(series.last, now)
    if now - watched.since >= quiet_seconds:
        return Stable(f"no instance came for {quiet_seconds:g} seconds")
    return watched
