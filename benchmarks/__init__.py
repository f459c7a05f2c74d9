"""One script a question; each measures both sides in one run and prints a ratio."""
