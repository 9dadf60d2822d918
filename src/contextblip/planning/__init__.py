"""Time and memory of a training step by micro-batch, from a short measurement on the machine at hand."""
