"""Run the command line with `python -m oatlib`, where the command `oatlib` is not on the path."""

import sys

from .cli.main import main

sys.exit(main())
