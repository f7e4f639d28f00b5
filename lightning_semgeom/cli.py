"""Where version 0.1 had the command line: `python -m lightning_semgeom.cli` goes on to work."""

import sys

from lightning_semgeom.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
