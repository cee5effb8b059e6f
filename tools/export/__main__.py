"""The command that exports."""

import sys

from tools.export.vgg import main

if __name__ == "__main__":
    sys.exit(main())
