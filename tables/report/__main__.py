"""Run report.main as `python -m tables.report`."""

import sys

from benchmark.common.command import in_utf8
from tables.report.report import main

if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
