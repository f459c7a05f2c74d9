"""The errors a user can act on, and the exit status each one ends a command with.

Runs anywhere (PURE). The tree:

    OrchestratorError        something outside our code went wrong     exit status 1
    ├── TrainingError        one experiment cannot go on (NaN, memory)
    ├── SlotError            the processes that train are gone
    │   └── NoRoomError      ... or the cluster has no room for them
    ├── StorageError         a disk is full, a file system is gone
    ├── StalledError         nothing in a study or training moves any more
    ├── CheckpointError      a checkpoint is damaged or foreign
    ├── LedgerError          a study's record is damaged
    └── ConfigError          what the user gave is wrong               exit status 2
        └── DatasetError     ... and it is a prepared data set

All of them survive pickling, so a worker can raise them and the driver can show them.
"""

from __future__ import annotations

from typing import ClassVar


class OrchestratorError(Exception):
    """Something a user can act on; the message is `<thing>: <rule>; got <value>. <remedy>`."""

    exit_status: ClassVar[int] = 1


class TrainingError(OrchestratorError):
    """One experiment cannot go on; the workers are ready for another.

    Args:
        message: In house form.
        final: Whether the same experiment must fail again (its loss is not finite), rather than
            fare better elsewhere (it does not fit this memory, a file was missing).
    """

    def __init__(self, message: str, final: bool = True) -> None:
        super().__init__(message, final)

    @property
    def final(self) -> bool:
        """Whether trying again is of no use."""
        return bool(self.args[1])

    def __str__(self) -> str:
        return str(self.args[0])


class SlotError(OrchestratorError):
    """The processes of a slot are gone, or never came.

    Args:
        message: In house form.
        retryable: Whether new processes can be expected to fare better (one was killed, a node
            was lost), rather than to die of the same bug.
        detail: The whole error, for a log.
        final: Whether what they trained must fail again, wherever and whenever it is trained.
    """

    def __init__(
        self, message: str, retryable: bool = False, detail: str = "", final: bool = False
    ) -> None:
        super().__init__(message, retryable, detail, final)

    @property
    def retryable(self) -> bool:
        """Whether a new start may help at once."""
        return bool(self.args[1])

    @property
    def final(self) -> bool:
        """Whether training the same again is of no use, however much later."""
        return bool(self.args[3])

    @property
    def detail(self) -> str:
        """Everything that is known of the cause, for a log; can be long."""
        return str(self.args[2] or self.args[0])

    def __str__(self) -> str:
        return str(self.args[0])


class NoRoomError(SlotError):
    """The workers of a slot did not start in time; no fault of what they were to train."""


class StorageError(OrchestratorError):
    """A file cannot be written for a reason that lies with the storage, and can be mended there."""


class StalledError(OrchestratorError):
    """Nothing in a study or training has moved for too long; the message says who waits for what."""


class CheckpointError(OrchestratorError):
    """A checkpoint is incomplete, damaged, or of another experiment."""


class LedgerError(OrchestratorError):
    """A study's record is damaged."""


class ConfigError(OrchestratorError):
    """Bad input. All that is wrong with it, one line a problem.

    Args:
        problems: Each `<dotted.path>: <rule>; got <value>. <remedy or choices>`.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, *problems: str) -> None:
        # The arguments stay `args`: that is what pickling an exception carries.
        super().__init__(*problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """One line per mistake."""
        return tuple(str(problem) for problem in self.args)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class DatasetError(ConfigError):
    """A prepared data set is missing, damaged or not what the command needs."""
