"""Run report.main as `python -m tables.report`."""

import sys

from tables.report.report import main

if __name__ == "__main__":
    sys.exit(main())
