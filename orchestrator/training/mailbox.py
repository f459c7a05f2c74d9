"""Where a slot puts commands and its workers put answers.

An actor of its own (no CPU), because the slot and the workers both block while they wait.
Every worker asks for command number n by itself: nothing is broadcast through the process
group, whose time-outs would end a slot that merely waits for its next trial.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Command = dict[str, Any]
Answer = dict[str, Any]


class Mailbox:
    """Commands in order, for all workers; answers in order, from the leader."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._answers: dict[int, Answer] = {}
        self._num_answers = 0
        self._joined: set[int] = set()
        self._changed = asyncio.Condition()

    async def join(self, rank: int) -> bool:
        """Whether this is the first worker of its rank: another has no part in the commands."""
        first = rank not in self._joined
        self._joined.add(rank)
        return first

    async def put(self, command: Command) -> int:
        """Append a command; returns its number."""
        async with self._changed:
            self._commands.append(command)
            self._changed.notify_all()
            return len(self._commands) - 1

    async def command(self, number: int) -> Command:
        """Wait for command `number` (0-based)."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._commands) > number)
            return self._commands[number]

    async def reply(self, answer: Answer) -> None:
        """Append an answer."""
        async with self._changed:
            self._answers[self._num_answers] = answer
            self._num_answers += 1
            self._changed.notify_all()

    async def answer(self, number: int) -> Answer:
        """Wait for answer `number` (0-based), which is handed out once."""
        async with self._changed:
            await self._changed.wait_for(lambda: number in self._answers)
            return self._answers.pop(number)


def open_mailbox() -> ray.actor.ActorHandle:
    """Start a mailbox on this node; it ends with the process that opened it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": here}
    return ray.remote(Mailbox).options(**options).remote()
