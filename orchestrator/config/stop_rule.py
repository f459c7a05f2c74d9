"""Which trials of a study end before their epochs because others do better.

PURE: no torch, no ray. Given by the space's file (`stop:`) or the command (`stop.rule=asha`). Not
`early_stop`, which ends a training that no longer beats itself; both can be used together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.config.section import Count, Section


class StopRule(Section):
    """When a trial that does worse than others is stopped."""

    rule: Annotated[
        Literal["none", "asha", "hyperband", "median"],
        Field(
            description="stop trials that do worse than others: none, asha (asynchronous "
            "successive halving), hyperband, or median (worse than half of those that finished)"
        ),
    ] = "none"
    min_epochs: Annotated[
        Count, Field(le=9999, description="no trial is stopped before so many epochs")
    ] = 1
    reduction_factor: Annotated[
        Count,
        Field(ge=2, le=100, description="asha, hyperband: one in so many goes on from each rung"),
    ] = 4
    min_trials: Annotated[
        Count, Field(description="median: trainings that have finished before any is stopped")
    ] = 5

    def words(self) -> str:
        """The rule as a plan says it; "" where there is none."""
        match self.rule:
            case "none":
                return ""
            case "median":
                return (
                    f"worse than half of those that finished, from epoch {self.min_epochs} on and "
                    f"{self.min_trials} finished trainings on"
                )
            case _:
                return (
                    f"{self.rule}, from epoch {self.min_epochs} on; about one training in "
                    f"{self.reduction_factor} goes on from each rung"
                )
