"""What a study found: its leaderboard as tables, pictures and live lines."""
