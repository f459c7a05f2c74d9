"""How production data differ from the validation set, told from a model's outputs."""
