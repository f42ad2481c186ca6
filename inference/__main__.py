"""Entry point of ``python -m inference``."""

import sys

from inference.serve import main

sys.exit(main())
