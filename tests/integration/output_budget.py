"""What a command may print: a line for each epoch, a page around them, and no library's noise."""

import re

MAX_OTHER_LINES = 90
"""Plan, leaderboard, where the time went, what to type next."""
MAX_LINE_BYTES, MAX_OTHER_BYTES = 160, 8_000
NOISE = re.compile(r"WARN|Warning|Traceback|\bINFO\b|\(\w+ pid=|ray::|FutureWarning|deprecat")
OF_RAY = "job_manager"
"""In the lines that Ray itself puts before a job's."""


def beyond_budget(output: str, num_epochs: int) -> list[str]:
    """What there is too much of.

    Args:
        output: of a study on no terminal.
        num_epochs: that this command may have trained.
    """
    lines = output.splitlines()
    of_epochs = [line for line in lines if line.startswith("epoch  lineage ")]
    found = [line for line in lines if NOISE.search(line) and OF_RAY not in line]
    if len(of_epochs) > num_epochs:
        found.append(f"{len(of_epochs)} lines for {num_epochs} epochs")
    if len(lines) - len(of_epochs) > MAX_OTHER_LINES:
        found.append(f"{len(lines) - len(of_epochs)} other lines")
    if len(output.encode()) > MAX_LINE_BYTES * len(of_epochs) + MAX_OTHER_BYTES:
        found.append(f"{len(output.encode())} bytes")
    return found
