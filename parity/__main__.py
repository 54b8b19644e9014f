"""`python -m parity` is the `parity` command."""

from __future__ import annotations

import sys

from parity.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
