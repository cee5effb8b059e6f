"""The command that reads the corpus."""

import sys

from tests.robustness.corpus.reading import main

if __name__ == "__main__":
    sys.exit(main())
