"""`python -m edgelearn` is `edgelearn`."""

import sys

from edgelearn.cli.main import main

sys.exit(main())
