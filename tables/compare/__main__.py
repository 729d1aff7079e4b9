"""Run report.main as `python -m tables.compare`."""

import sys

from tables.compare.report import main

if __name__ == "__main__":
    sys.exit(main())
