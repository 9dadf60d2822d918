"""`python -m contextblip`: the same command as `lightning`."""

from contextblip.cli import main

if __name__ == "__main__":
    main()
