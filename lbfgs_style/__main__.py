"""``python -m lbfgs_style``, and what ``lbfgs-style`` starts: the command."""

import sys


def main() -> None:
    """Run the command; the version alone, which scripts ask for, needs nothing of it."""
    if sys.argv[1:] == ["--version"]:
        from .version import __version__

        try:
            print(f"lbfgs-style {__version__}", flush=True)
        except OSError as error:
            from .cli.streams import finish_output

            finish_output()
            say = f"lbfgs-style: standard output: cannot be written: {error.strerror}"
            print(say, file=sys.stderr)
            sys.exit(2)
        return
    try:
        from .cli.app import main as run

        run()
    except KeyboardInterrupt:  # before the command could take care of it
        sys.exit(130)


if __name__ == "__main__":
    main()
