"""A Ray-distributed experiment orchestrator for facial expression recognition.

Each command is one module here and reads top to bottom: `prepare`, `train`, `ablate`,
`leaderboard`, `doctor`. What they stand on lies in packages named after the stage:
`config`, `ingest`, `training`, `tuning`, `results`.
"""

__version__ = "0.1.0"
