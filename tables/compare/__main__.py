"""Run report.main as `python -m tables.compare`."""

import sys

from benchmark.common.command import in_utf8
from tables.compare.report import main

if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
