"""Write the table of the command's options into lbfgs_style/README.md.

    python -m tools.figures.options_table

The table stands between two comments of the page and comes from the command's own parameters: the page says
what `lbfgs-style transfer --help` and, of videos, `lbfgs-style video --help` say. A test compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main

from lbfgs_style.cli.app import app
from lbfgs_style.settings.option_fields import PANELS

PAGE = Path(__file__).parents[2] / "lbfgs_style" / "README.md"
BEGIN = "<!-- options: written by python -m tools.figures.options_table -->\n"
END = "<!-- end of options -->\n"


def table() -> str:
    """Return the options of `transfer` as Markdown, a table for each panel of the help; one is `video`'s."""
    command: Any = typer.main.get_command(app)
    parts: list[str] = []
    for panel in PANELS:
        parameters = command.commands["video" if panel == "Video" else "transfer"].params
        parts.append(_panel(panel, [o for o in parameters if getattr(o, "rich_help_panel", None) == panel]))
    return "\n".join(parts)


def _panel(name: str, options: list[Any]) -> str:
    lines = [f"| {name} | default | |", "|---|---|---|"]
    for option in options:
        names = ", ".join(f"`{spelled}`" for spelled in (*option.opts, *option.secondary_opts))
        text = option.help.replace("|", "\\|")
        lines.append(f"| {names} | {_default(option)} | {text} |")
    return "\n".join(lines) + "\n"


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    if option.required:
        return "required"
    if option.is_flag and option.secondary_opts:
        return "on" if option.default else "off"
    return "" if option.default is None or option.default is False else f"`{option.default}`"


def with_table(page: str) -> str:
    """Return a page with the table between its two comments."""
    start, stop = page.index(BEGIN) + len(BEGIN), page.index(END)
    return f"{page[:start]}\n{table()}\n{page[stop:]}"


def main() -> None:
    """Write the table into the page."""
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
