"""One experiment on the workers of one slot: epochs, exact metrics, checkpoints."""
