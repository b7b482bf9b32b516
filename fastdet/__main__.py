"""``python -m fastdet`` is the command ``fastdet``."""

import sys

from fastdet.cli.app import main

sys.exit(main())
