"""How the commands paint: the look or preset, the file of options and the network, as a user names them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import OptionError
from ..images import MAX_PIXELS
from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..settings.looks import LOOKS
from ..settings.looks import look as look_row
from ..settings.options import Options
from ..settings.options_file import WEIGHTS, of_file
from ..settings.presets import PRESETS
from .parsing import MaxPixels, Network, Typed, check_use, completing


@dataclass(frozen=True, slots=True)
class PaintingParameters:
    """How to paint, as the command line names it, besides the fields of `Options`."""

    look: Annotated[
        str,
        typer.Option(
            "--look",
            "-l",
            autocompletion=completing([row.name for row in LOOKS]),
            help="How to paint, as `lbfgs-style looks` lists it: bold, fine, soft, portrait, … Options on "
            "the command line win.",
            rich_help_panel="Basics",
        ),
    ] = LOOKS[0].name
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            "-p",
            autocompletion=completing([row.name for row in PRESETS]),
            help="Losses, weights, layers, initial image and optimizer of another program, as `lbfgs-style "
            "presets` lists them. Options on the command line win.",
            rich_help_panel="Basics",
        ),
    ] = Options().loss
    network: Network = DEFAULT_NETWORK
    options_file: Annotated[
        Path | None,
        typer.Option(
            "--options",
            help="TOML file of options, such as size = 768 or preset = 'keras'. Options on the command line "
            "win.",
            rich_help_panel="Basics",
        ),
    ] = None
    max_pixels: MaxPixels = MAX_PIXELS

    def stroke_size(self, typed: Typed) -> float:
        """Return the factor of all style images' sizes that the look has; one that was typed replaces it."""
        return 1.0 if "style_scale" in typed.explicit else look_row(self.look).stroke_size

    def options(
        self,
        typed: Typed,
        known_layers: Callable[[], Collection[str]],
        *,
        read_init: Callable[[], Any] | None = None,
    ) -> Options:
        """Return what the user typed, over the options of the file, the look or preset and the defaults.

        Parameters
        ----------
        typed : Typed
            What the user typed.
        known_layers : function
            () → the layers of the network.
        read_init : function, optional
            () → the option `init`, for commands whose --init may be a file.
        """
        look, file = look_row(self.look), self.options_file
        if look.options and (self.preset != Options().loss or file is not None):
            raise OptionError(
                f"--look changes the defaults, and {'--options' if file else '--preset'} replaces them: give "
                "one of them."
            )
        if "strength" in typed.explicit and typed.explicit & WEIGHTS:
            raise OptionError(
                "--strength stands for --content-weight and --style-weight and contradicts them: give one or "
                "the other."
            )
        values = typed.values(known_layers)
        if "init" in typed.explicit and read_init is not None:
            values["init"] = read_init()
        if file is None:
            changed = dict(look.options)
            if typed.explicit & WEIGHTS:
                changed.pop("strength", None)
            base = replace(Options.preset(self.preset), **changed)
        else:
            base = of_file(file, preset=self.preset if "preset" in typed.explicit else None, without=values)
        options = replace(base, **values)
        check_use(typed.explicit, options)
        return options
