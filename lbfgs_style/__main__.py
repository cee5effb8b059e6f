"""The entry point of ``python -m lbfgs_style`` and of the command ``lbfgs-style``."""

import sys


def main() -> None:
    """Run the command; ``--version``, which scripts ask for, is answered without importing it."""
    if sys.argv[1:] == ["--version"]:
        from .native.library import describe
        from .version import __version__

        try:
            print(f"lbfgs-style {__version__} ({describe()})", flush=True)
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
    except KeyboardInterrupt:  # raised before the command installed its handler
        sys.exit(130)


if __name__ == "__main__":
    main()
