"""What each run was made with: revision, packages, machine, command line, seeds, data and weights."""
