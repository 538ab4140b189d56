"""`python -m tiffin.daemon`."""

import sys

from tiffin.daemon.main import main

sys.exit(main())
