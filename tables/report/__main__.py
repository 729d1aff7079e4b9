"""Write the report again from stored records: python -m tables.report --from results/synthetic"""

import sys

from tables.report.report import main

if __name__ == "__main__":
    sys.exit(main())
