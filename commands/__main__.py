"""python -m commands: the same as ./smw."""

import sys

from commands.cli import main

sys.exit(main())
