"""``python -m lbfgs_style`` is the command."""

from .cli import main

main()
