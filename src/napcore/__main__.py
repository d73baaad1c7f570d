"""``python -m napcore``."""

from __future__ import annotations

import sys

from napcore.edge.cli import main

if __name__ == "__main__":
    sys.exit(main())
