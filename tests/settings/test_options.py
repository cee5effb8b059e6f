"""Options: every refusal names the option, the expected values and the actual one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import typer

from lbfgs_style import OptionError, Options
from lbfgs_style.cli import app
from lbfgs_style.settings.option_fields import help_of, limits_of, option_name
from lbfgs_style.settings.options import MAX_SIZE, MIN_SIZE
from lbfgs_style.settings.options_file import checked_names

REFUSED = [
    ("size", 15, "whole number from 16 to 16384 or 'full'", "got 15"),
    ("size", 16385, "whole number from 16 to 16384 or 'full'", "got 16385"),
    ("size", 512.0, "whole number", "got 512.0"),
    ("size", True, "whole number", "got True"),
    ("size", "ful", "'full'", "got 'ful'"),
    ("scales", (), "'auto', 'single' or a tuple", "got ()"),
    ("scales", "automatic", "'auto'", "got 'automatic'"),
    ("scales", (8, 256), "whole number from 16", "got 8"),
    ("scales", (256, 128), "must grow", "got 256,128"),
    ("scales", (256, 256), "must grow", "got 256,256"),
    ("iterations", 0, "whole number from 1", "got 0"),
    ("iterations", (), "a tuple (in TOML a list) with one for each scale", "got ()"),
    ("iterations", (10, 0), "whole number from 1", "got 0"),
    ("iterations", 2.5, "whole number", "got 2.5"),
    ("content_weight", -0.1, "finite number, 0 or larger", "got -0.1"),
    ("style_weight", float("nan"), "finite number", "got nan"),
    ("range_weight", -1, "finite number, 0 or larger", "got -1"),
    ("tv_weight", float("inf"), "finite number", "got inf"),
    ("content_weight", "1", "finite number", "got '1'"),
    ("style_weight", False, "finite number", "got False"),
    ("content_layers", (), "a tuple (in TOML a list) of layers", "got ()"),
    (
        "content_layers",
        "relu4_1",
        "a tuple (in TOML a list) of layers such as ('relu1_1', 'relu3_1')",
        "got 'relu4_1'",
    ),
    ("style_layers", ("relu1_1", 3), "a tuple (in TOML a list) of layers", "got ('relu1_1', 3)"),
    ("style_layers", ("relu1_1", "relu1_1"), "twice", "relu1_1,relu1_1"),
    ("tv_power", 0.5, "number from 1 to 2", "got 0.5"),
    ("tv_power", "2", "number from 1 to 2", "got '2'"),
    ("style_layer_weights", (1.0,), "a number for each of style_layers", "got (1.0,) for None"),
    ("style_statistic", "cov", "gram, mean-cov, moments, neighbours, wasserstein", "got 'cov'"),
    ("pooling", "avg", "max, average, l2", "got 'avg'"),
    ("optimizer", "bfgs", "lbfgs, adam, sgd", "got 'bfgs'"),
    ("learning_rate", 0, "finite number larger than 0", "got 0"),
    ("learning_rate", float("inf"), "finite number larger than 0", "got inf"),
    ("strength", 1.01, "number from 0 to 1", "got 1.01"),
    ("strength", "0.5", "number from 0 to 1", "got '0.5'"),
    ("init", "random", "content, noise, style", "got 'random'"),
    ("init_noise", 1.1, "number from 0 to 1", "got 1.1"),
    ("init_noise", -0.1, "number from 0 to 1", "got -0.1"),
    ("init_noise", True, "number from 0 to 1", "got True"),
    ("init_noise", float("nan"), "number from 0 to 1", "got nan"),
    ("variables", "fourier", "decorrelated, spectral, pixels", "got 'fourier'"),
    (
        "variables",
        "laplacian",
        "decorrelated, spectral, pixels",
        "got 'laplacian'. This version no longer has it: use 'd",
    ),
    ("preserve_color", "luma", "none, luminance, match", "got 'luma'"),
    ("color_match", "mean", "cholesky, pca, symmetric", "got 'mean'"),
    ("device", "gpu", "auto, cpu, cuda", "got 'gpu'"),
    ("seed", -1, "whole number from 0", "got -1"),
    ("history", 0, "whole number from 1 to 400", "got 0"),
    ("seed", True, "whole number", "got True"),
    ("threads", -1, "whole number from 0 to 4096", "got -1"),
    ("content_weight", 10**400, "at most 1e+30", "got a number of over 300 digits"),
    ("scales", np.array([32, 64]), "a tuple (in TOML a list) of longer sides", "got array([32, 64])"),
]


@pytest.mark.parametrize(("name", "value", "expected", "got"), REFUSED)
def test_refusal_names_option_expected_and_got(name: str, value: object, expected: str, got: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options(**{name: value})
    message = str(caught.value)
    for part in (name, expected, got):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["learning_rate", "seed", "strength"])
def test_numbers_of_too_many_digits_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="got a number of over 300 digits"):
        Options(**{name: 10**5000})


def test_a_card_may_be_named() -> None:
    assert Options(device="cuda:1").device == "cuda:1"
    for wrong in ("cuda:", "cuda:x", "cuda:-1", "cpu:1", "cuda:1000", "cuda:1 "):
        with pytest.raises(OptionError, match="device must be one of auto, cpu, cuda"):
            Options(device=wrong)


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [("device", "cdua", "cuda"), ("init", "contents", "content"), ("variables", "pixel", "pixels")],
)
def test_near_match_is_suggested(name: str, value: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"got '{value}'. Did you mean '{near}'"):
        Options(**{name: value})


@pytest.mark.parametrize(
    ("weights", "problem"),
    [((1, 2, 3), "for each of style_layers"), ((1, 0), "got 0"), ((1, "2"), "got '2'")],
)
def test_weights_of_layers_are_checked(weights: object, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        Options(style_layers=("a", "b"), style_layer_weights=weights)
    assert Options(style_layers=("a", "b"), style_layer_weights=(np.int64(2), 1)).style_layer_weights == (
        2,
        1,
    )


def test_losses_of_a_preset_are_named() -> None:
    assert Options(loss="keras").loss == "keras"
    with pytest.raises(
        OptionError, match=r"must be one of default, gatys, .* got 'karas'. Did you mean 'keras'"
    ):
        Options(loss="karas")
    with pytest.raises(OptionError, match="'gluon' compare Gram matrices, got style_statistic 'mean-cov'"):
        Options(loss="gluon", style_statistic="mean-cov")


def test_the_default_preset_is_the_default() -> None:
    assert Options.preset("default") == Options()


def test_noise_is_not_blended_with_noise() -> None:
    with pytest.raises(OptionError, match="init 'noise' is all noise"):
        Options(init="noise", init_noise=0.5)


@pytest.mark.parametrize(
    ("strength", "balance"),
    [
        (None, (0.1, 3.0)),
        (0.5, (0.1, 3.0)),
        (0, (0.1 * 2**1.25, 0.0)),
        (1, (0.0, 3 * 2**1.25)),
        (0.75, (0.1 * 0.5**1.25, 3 * 1.5**1.25)),
    ],
)
def test_strength_balances_the_weights(strength: float | None, balance: tuple[float, float]) -> None:
    options = Options(strength=strength)
    assert options.balance == pytest.approx(balance)
    assert Options(**dataclasses.asdict(options)) == options
    assert dataclasses.replace(options, strength=0.9).balance == Options(strength=0.9).balance


@pytest.mark.parametrize("weight", ["content_weight", "style_weight"])
def test_strength_and_weights_contradict_each_other(weight: str) -> None:
    with pytest.raises(OptionError, match="strength stands for content_weight and style_weight"):
        Options(strength=0.5, **{weight: 0.5})


def test_far_match_is_not_suggested() -> None:
    with pytest.raises(OptionError) as caught:
        Options(device="tpu7")
    assert "Did you mean" not in str(caught.value)


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(OptionError, match="content_weight and style_weight are both 0"):
        Options(content_weight=0, style_weight=0)


@pytest.mark.parametrize(
    "accepted",
    [
        {"size": "full"},
        {"size": MIN_SIZE},
        {"size": MAX_SIZE},
        {"scales": (16, 17)},
        {"iterations": 1},
        {"iterations": (5, 4, 3)},
        {"content_weight": 0},
        {"style_weight": 0.0},
        {"tv_weight": np.float64(0.5)},
        {"content_layers": ("any",)},
        {"threads": 0},
        {"history": 1},
        {"seed": 2**63 - 1},
    ],
)
def test_edges_are_accepted(accepted: dict[str, object]) -> None:
    (name,) = accepted
    assert getattr(Options(**accepted), name) == accepted[name]


def test_numbers_of_numpy_become_those_of_python() -> None:
    options = Options(
        size=np.int64(64),
        scales=(np.int32(24), np.uint16(36)),
        iterations=(np.int64(3), np.int64(2), 1),
        content_weight=np.float32(0.25),
        tv_weight=np.int64(0),
        seed=np.uint8(7),
        history=np.int16(9),
        threads=np.int64(1),
    )
    assert options == Options(
        size=64,
        scales=(24, 36),
        iterations=(3, 2, 1),
        content_weight=0.25,
        tv_weight=0,
        seed=7,
        history=9,
        threads=1,
    )
    assert json.loads(json.dumps(dataclasses.asdict(options)))["iterations"] == [3, 2, 1]
    assert json.dumps(Options(iterations=np.int64(5)).iterations) == "5"


@pytest.mark.parametrize("name", ["size", "content_weight", "threads"])
def test_truth_values_of_numpy_are_no_numbers(name: str) -> None:
    with pytest.raises(OptionError, match=name):
        Options(**{name: np.bool_(True)})


def test_defaults_are_valid_and_replaced_values_are_checked() -> None:
    defaults = Options()
    assert defaults == Options(**dataclasses.asdict(defaults))
    with pytest.raises(OptionError, match="size"):
        dataclasses.replace(defaults, size=1)


def test_options_are_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().size = 100
    with pytest.raises(TypeError):
        Options(512)
    assert not hasattr(Options(), "__dict__")


@pytest.mark.parametrize("field", dataclasses.fields(Options), ids=lambda field: field.name)
def test_a_field_is_all_that_an_option_needs(field):
    """The command, its help, options files and the docstring take it from there."""
    about, limits = help_of(field), limits_of(field)
    assert f"{field.name} : " in Options.__doc__
    assert about.text.split()[0] in Options.__doc__
    assert checked_names({field.name.replace("_", "-"): field.default}, source="a file") == {
        field.name: field.default
    }
    command = typer.main.get_command(app.app).commands["transfer"]
    options = {name: each for each in command.params for name in each.opts}
    option = options.get(option_name(field.name))
    assert (option is not None) is (about.panel is not None)
    if option is not None and field.name != "init":  # --init takes files, too, and says so
        assert option.help == about.text
        assert option.rich_help_panel == about.panel
        default = field.default
        assert option.default == (
            str(default) if limits.parameter is str and default is not None else default
        )
