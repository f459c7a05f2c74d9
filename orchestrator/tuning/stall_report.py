"""Who waits for what, in the words of a study that does not move. DRIVER."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.training.pulse import Activity, activities

Amounts = Mapping[str, float]


@dataclass(frozen=True)
class Waiting:
    """A placement group that Ray has no room for.

    Attributes:
        name: its own; "" where it has none.
        bundles: what it asks for.
    """

    name: str
    bundles: tuple[Amounts, ...]


def stall_report(last_record: Mapping[str, Any] | None, logs: Sequence[str]) -> tuple[str, ...]:
    """Ask Ray, and say it.

    Args:
        last_record: of the ledger.
        logs: where to read more.
    """
    return (
        *slot_lines(activities(), time.time()),
        *waiting_lines(_waiting()),
        cluster_line(ray.cluster_resources(), ray.available_resources()),
        *record_lines(last_record),
        *(f"logs        {log}" for log in logs),
    )


def free_amounts() -> Amounts:
    """Changes as long as blocks of data arrive or tasks begin and end."""
    free: Amounts = ray.available_resources()
    return free


def slot_lines(slots: Sequence[Activity], now: float) -> tuple[str, ...]:
    """Each slot: what it is doing, and for how long."""
    if not slots:
        return ("slots       none has started",)
    return tuple(
        f"{slot.slot} on {slot.place}: {slot.state}, for {now - slot.since:,.0f} s"
        for slot in slots
    )


def waiting_lines(groups: Sequence[Waiting]) -> tuple[str, ...]:
    """What Ray has no room for."""
    return tuple(
        f"waiting     {group.name or 'a placement group'} wants {_asked(group.bundles)}"
        for group in groups
    )


def cluster_line(total: Amounts, free: Amounts) -> str:
    """What there is, and what nobody holds."""
    shown = [name for name in ("CPU", "GPU") if total.get(name)]
    amounts = (f"{free.get(name, 0):g} of {total[name]:g} {name} free" for name in shown)
    return f"cluster     {', '.join(amounts) or 'has no CPU'}"


def record_lines(record: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What the ledger was told last."""
    if record is None:
        return ()
    about = [f"{key} {record[key]}" for key in ("lineage", "epoch", "trial") if key in record]
    return (f"last record {', '.join([record['record'], *about])}, at {record.get('time', '?')}",)


def _asked(bundles: Sequence[Amounts]) -> str:
    return " and ".join(
        " + ".join(f"{amount:g} {name}" for name, amount in sorted(bundle.items()))
        for bundle in bundles
    )


def _waiting() -> tuple[Waiting, ...]:
    table = ray.util.placement_group_table().values()
    return tuple(
        Waiting(group["name"], tuple(group["bundles"].values()))
        for group in table
        if group["state"] in ("PENDING", "RESCHEDULING")
    )
