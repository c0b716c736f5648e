import sys

from smartmeter.cli import main

sys.exit(main())
