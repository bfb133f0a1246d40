"""``python -m serinus``: the command line."""

from serinus.cli import main

main()
