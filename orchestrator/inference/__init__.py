"""A trained model and rows of a data set in, probabilities out, on as many nodes as there are."""
