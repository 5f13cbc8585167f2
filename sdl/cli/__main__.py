"""`python -m sdl.cli`, where the script `sdl` is not on the path."""

import sys

from sdl.cli import main

if __name__ == "__main__":
    sys.exit(main())
