"""The ablation: trials of a search space, grouped into lineages, trained in warm slots."""
