"""`lightning sweep`: an experiment of several stages over a grid or variants and seeds."""
