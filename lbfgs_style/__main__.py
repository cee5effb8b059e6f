"""``python -m lbfgs_style``, and what ``lbfgs-style`` starts: the command."""

import sys


def main() -> None:
    """Run the command; the version alone, which scripts ask for, needs nothing of it."""
    if sys.argv[1:] == ["--version"]:
        from .version import __version__

        print(f"lbfgs-style {__version__}")  # noqa: T201  # a command's output
        return
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
