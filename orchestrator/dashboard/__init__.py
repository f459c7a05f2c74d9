"""The leaderboard where Ray shows things: a tab of its dashboard, its logs, jobs and metrics."""
