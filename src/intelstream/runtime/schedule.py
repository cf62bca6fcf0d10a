"""When a collector runs next: an interval or a cron expression, with jitter, in its time zone."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from cronsim import CronSim

from intelstream.runtime.spec import StageSpec


def following(spec: StageSpec, slot: datetime, now: datetime, random: Random) -> datetime:
    """Return the slot after `slot`, in the future; slots that were missed meanwhile count as one.

    An interval counts from slot to slot, so that runs do not drift by the time they take.
    """
    if spec.cron:
        after = max(slot, now).astimezone(ZoneInfo(spec.timezone))
        found = next(CronSim(spec.cron, after)).astimezone(UTC)
    else:
        every = timedelta(seconds=spec.every or 0)
        found = slot + every
        if found <= now:
            found = now + every
    return found + timedelta(seconds=random.uniform(0, spec.jitter)) if spec.jitter else found


def first(spec: StageSpec, kept: datetime | None, now: datetime, random: Random) -> datetime:
    """Return the slot to begin with: the one that is kept, unless it was missed and missed ones are skipped."""
    if kept is None:
        return following(spec, now, now, random) if spec.cron else now
    if kept <= now and spec.missed == "skip":
        return following(spec, kept, now, random)
    return kept
