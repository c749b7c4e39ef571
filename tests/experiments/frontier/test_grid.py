"""A grid's cells: what is crossed, what makes one cell, and names and commands that follow from settings."""

import math
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.frontier.cell import Cell, variants
from terrycloth.experiments.frontier.grid import DEFAULT_GRID, expand, override, read_grid, table_of_flags
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError

TABLE = {"devices": [30, 60], "model": "linear", "unit": "shopper", "trust": "central", "epsilon": [1, 4]}


def test_lists_are_crossed_in_order() -> None:
    cells = expand([TABLE | {"seeds": 2}])
    given = [(cell.config.devices, cell.config.epsilon, cell.config.seed) for cell in cells]
    assert given == [(n, epsilon, seed) for n in (30, 60) for epsilon in (1.0, 4.0) for seed in (0, 1)]


def test_three_seeds_are_the_default() -> None:
    assert [cell.config.seed for cell in expand([{"devices": 30}])] == [0, 1, 2]


def test_no_promise_is_one_cell_whatever_it_is_crossed_with() -> None:
    table = {"unit": "shopper", "trust": ["central", "distributed"], "epsilon": [math.inf], "clip": [1, 2]}
    (cell,) = expand([table | {"seeds": 1}])
    assert cell.config == RunConfig(seed=0, floors=False, central=False, ceiling=False)


def test_a_cell_of_two_tables_is_run_once() -> None:
    assert len(expand([TABLE, TABLE | {"epsilon": [4, 8]}])) == 2 * 3 * 3


def test_a_name_depends_on_the_cell_only() -> None:
    few, many = expand([TABLE | {"epsilon": 4}]), expand([TABLE])
    assert {cell.name for cell in few} < {cell.name for cell in many}
    assert re.fullmatch(r"towels-30-linear-shopper-central-eps4-seed0-[0-9a-f]{8}", few[0].name)
    assert len({cell.name for cell in expand([TABLE | {"dim": [2, 4]}])}) == 2 * 2 * 2 * 3


def test_a_name_is_a_file_name() -> None:
    cell = Cell.of({"data": "movielens", "path": "../some where/ml 100k", "seed": 0})
    assert re.fullmatch(r"[\w.-]+", cell.name)
    assert cell.data_label == "movielens ml 100k"


def test_a_command_states_what_differs_from_the_defaults() -> None:
    given = {"devices": 30, "epsilon": 4, "seed": 1, "server_momentum": 0.0, "strict": True}
    command = (
        "terry simulate --devices 30 --model linear --unit shopper --trust central --epsilon 4 "
        "--set strict=true --set server_momentum=0.0 --seed 1"
    )
    alone = {"baselines": False, "floors": False, "central": False, "ceiling": False}
    assert Cell.of(TABLE | given | {"baselines": False}).command == command
    assert Cell.of(TABLE | given | {"baselines": True}).command == f"{command} --baselines"
    assert Cell.of(TABLE | given | alone).command == (
        f"{command} --set floors=false --set central=false --set ceiling=false"
    )


def test_comparisons_are_computed_once_for_all_promises_and_seeds() -> None:
    """One job computes floors and ceiling, one the central model, one the baselines; none does two."""
    cells = expand([TABLE])
    found = {reference.name: reference for cell in cells for reference in cell.references}
    assert sorted(re.sub("-[0-9a-f]{8}$", "", name) for name in found) == [
        "towels-30-baselines", "towels-30-central_linear", "towels-30-floors",
        "towels-60-baselines", "towels-60-central_linear", "towels-60-floors",
    ]  # fmt: skip
    asked = [
        (job.config.floors, job.config.ceiling, job.config.central, job.config.baselines)
        for job in found.values()
    ]
    once = [(True, True, False, False), (False, False, True, False), (False, False, False, True)]
    assert sorted(asked) == sorted(2 * once)
    assert not any(
        cell.config.floors or cell.config.ceiling or cell.config.central or cell.config.baselines
        for cell in cells
    )


def test_comparisons_can_be_left_out() -> None:
    nothing = {"floors": False, "central": False, "ceiling": False, "baselines": False}
    assert not any(cell.references for cell in expand([TABLE | nothing]))
    for name, given in (("floors", "floors"), ("ceiling", "ceiling"), ("baselines", "baselines")):
        (job,) = {one.name: one for cell in expand([TABLE | nothing | {name: True, "devices": 30}])
                  for one in cell.references}.values()  # fmt: skip
        assert job.parts()[-1] == given


def test_splits_are_crossed_and_have_their_own_references() -> None:
    cells = expand([{"split": ["date", "next-visit"]} | TABLE | {"devices": 30, "seeds": 1}])
    given = [(cell.config.split, cell.config.epsilon) for cell in cells]
    assert given == [(split, epsilon) for split in ("date", "next-visit") for epsilon in (1.0, 4.0)]
    jobs = {job.name: job for cell in cells for job in cell.references}
    assert sorted(job.config.split or "" for job in jobs.values()) == 3 * ["date"] + 3 * ["next-visit"]
    assert set(variants(cells).values()) == {""}, "the split has a column of its own"
    assert re.fullmatch(r"towels-next_visit-30-linear-shopper-central-eps1-seed0-[0-9a-f]{8}", cells[2].name)


def test_a_date_applies_only_to_the_split_by_date() -> None:
    """A promise similarly belongs to cells with an ε: crossed with other splits the date would be refused."""
    cells = expand([{"devices": 30, "split": ["date", "next-visit"], "at": ["2025-09-01", 0.9], "seeds": 1}])
    assert [(cell.config.split, cell.config.at) for cell in cells] == [
        ("date", "2025-09-01"), ("date", 0.9), ("next-visit", None),
    ]  # fmt: skip
    assert cells[0].name.startswith("towels-date_2025_09_01-30-attributes-")
    # As TOML reads it without quotes.
    (dated,) = expand([{"devices": 30, "at": date(2025, 9, 1), "seeds": 1}])
    assert dated.config.at == "2025-09-01"


def test_settings_that_change_the_test_are_in_the_label_of_the_data() -> None:
    table = {"devices": 30, "seeds": 1, "visit": ["instant", "day"], "data_seed": [0, 3]}
    assert [cell.data_label for cell in expand([table])] == [
        "towels", "towels, data seed 3", "towels, one visit per day",
        "towels, one visit per day, data seed 3",
    ]  # fmt: skip
    assert set(variants(expand([table])).values()) == {""}


FLOWER = TABLE | {"model": "attributes", "epsilon": [1, math.inf], "flower": True}


def test_flowers_strategy_is_run_for_each_promise_and_seed() -> None:
    cells = expand([FLOWER])
    jobs = [reference for cell in cells for reference in cell.references if reference.flower]
    assert len(jobs) == 2 * 3
    # Each has its own lock file.
    assert len({job.digest for job in [*jobs, *cells]}) == len(jobs) + len(cells)
    assert re.fullmatch(r"towels-30-flower_attributes_eps1_seed0-[0-9a-f]{8}", jobs[0].name)
    assert not any(reference.flower for cell in expand([TABLE]) for reference in cell.references)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "linear"}, "plain SGD: use --model mf or attributes"),
        ({"trust": "local"}, "needs --unit shopper and --trust central"),
        ({"devices": 2001}, "2,001 devices are more than the 2,000"),
        ({"flower": "yes"}, "flower = yes is neither true nor false"),
        ({"baselines": "perhaps"}, "--baselines perhaps"),
    ],
)
def test_flowers_strategy_is_refused_for_settings_it_does_not_support(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        expand([FLOWER | changes])


def test_settings_without_a_column_are_named_as_variants() -> None:
    cells = expand([TABLE | {"dim": [2, 4], "kernel_half_life": 3.0}])
    assert set(variants(cells).values()) == {"dim = 2", "dim = 4"}
    assert set(variants(expand([TABLE])).values()) == {""}


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"clip_quantile": [0.0, 0.5], "model": "mf"}, {"", "clip_quantile = 0.5"}),
        ({"trust": "distributed", "tolerated_dropout": [0.2, 0.3]},
         {"tolerated_dropout = 0.2", "tolerated_dropout = 0.3"}),
        ({"evaluate_sample": [10, 20]}, {"evaluate_sample = 10", "evaluate_sample = 20"}),
        ({"evaluate_every": [1, 2]}, {"evaluate_every = 1", "evaluate_every = 2"}),
        ({"epsilon": None, "noise_multiplier": [1.0, 2.0]}, {""}),  # the resulting ε has a column too
    ],
)  # fmt: skip
def test_cells_of_different_settings_are_not_taken_for_seeds(
    changes: dict[str, Any], given: set[str]
) -> None:
    table = {name: value for name, value in (TABLE | changes).items() if value is not None}
    assert set(variants(expand([table])).values()) == given


def test_a_setting_of_a_promise_with_a_column_is_not_named_as_a_variant() -> None:
    """How often a run was evaluated is not named either, because it changes nothing."""
    tables = [
        TABLE | {"trust": "central", "evaluate_every": 5},
        TABLE | {"trust": "distributed", "secure_aggregation": False, "evaluate_every": 2},
    ]
    assert set(variants(expand(tables)).values()) == {""}


def test_a_cell_of_two_tables_has_the_comparisons_of_both() -> None:
    ceiling, central = TABLE | {"central": False}, TABLE | {"ceiling": False}
    for tables in ([ceiling, central], [central, ceiling]):
        assert {(cell.central, cell.ceiling) for cell in expand(tables)} == {(True, True)}
    assert {cell.central for cell in expand([ceiling])} == {False}


@pytest.mark.parametrize("name", ["dim", "regularisation", "catalogue_weight"])
def test_settings_tuned_for_a_promise_do_not_apply_to_the_central_model(name: str) -> None:
    def central(table: dict[str, Any]) -> set[int | None]:
        found = [reference for cell in expand([table]) for reference in cell.references]
        return {getattr(reference.config, name) for reference in found if reference.config.central}

    assert central(TABLE | {name: [2, 4]}) == {None}
    assert central({"devices": 30, name: [2, 4]}) == {2, 4}


def test_a_command_has_every_digit_and_only_flags_that_exist() -> None:
    given = {"model": "neural-cf", "torch_device": "cuda", "unit": "interaction", "epsilon": 1.23456789}
    cell = Cell.of(given | {"seed": 0})
    assert "--epsilon 1.23456789 " in cell.command
    assert "--device cuda" in cell.command


@pytest.mark.parametrize("flags", [{"seeds": [2]}, {"seed": [0, 1]}], ids=str)
@pytest.mark.parametrize("given", [{"seeds": 5}, {"seed": 7}], ids=str)
def test_flags_for_seeds_override_those_of_the_table(flags: dict[str, Any], given: dict[str, Any]) -> None:
    cells = expand([override({"devices": 30} | given, flags)])
    assert [cell.config.seed for cell in cells] == [0, 1]
    assert override(given, {"epsilon": [1]}) == given | {"epsilon": [1]}


def test_an_unknown_data_set_is_reported_before_anything_runs() -> None:
    with pytest.raises(UserError, match=r"^there is no data set 'towelz': use one of towels"):
        expand([{"data": ["towels", "towelz"]}])
    with pytest.raises(UserError, match=r"^grid 2: there is no data set 'towelz'"):
        expand([{"devices": 30}, {"data": "towelz"}])


def test_flags_make_a_table() -> None:
    given: dict[str, Any] = {"epsilon": "0.5,1,inf", "model": "linear,mf", "seeds": "2", "unit": None}
    for name in ("category", "order_column"):
        assert table_of_flags({name: "HAND TOWELS, SMALL"}) == {name: "HAND TOWELS, SMALL"}
    assert table_of_flags({"split": "date,next-visit", "at": "2011-09-01,0.9"}) == {
        "split": ["date", "next-visit"], "at": ["2011-09-01", 0.9],
    }  # fmt: skip
    flags = table_of_flags(given | {"path": Path("ml,100k")})
    assert flags == {
        "epsilon": [0.5, 1, math.inf], "model": ["linear", "mf"], "seeds": [2], "path": Path("ml,100k"),
    }  # fmt: skip
    assert expand([flags])[0].config.path == Path("ml,100k")


@pytest.mark.parametrize("path", sorted(DEFAULT_GRID.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_the_grids_of_the_project_can_be_read(path: Path) -> None:
    assert expand(read_grid(path))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"epsilonn": 8}, "grid 2: there is no setting 'epsilonn'"),
        ({"epsilon": [1, 0], "unit": "shopper"}, "--epsilon 0"),
        ({"epsilon": -1}, "--epsilon -1"),
        ({"epsilon": []}, r"epsilon = \[\] leaves no cell"),
        ({"model": "svd"}, "--model svd"),
        ({"split": ["date", "random"]}, "--split random"),
        ({"epsilon": [1, None]}, "epsilon = null is no value"),
        ({"seed": [None]}, "seed = null is no value"),
        ({"seeds": 0}, "seeds = 0"),
        ({"seeds": True}, "seeds = True"),
        ({"seeds": 2, "seed": 1}, "keep only one of them"),
    ],
)
def test_a_wrong_table_is_reported_in_one_line(table: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        expand([{"devices": 30}, table])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing to run"),
        ("schema = 2\n", "nothing to run"),
        ("schema = 1\n[[grid]]\n", "has schema 1, but this version reads schema 2"),
        ("epsilon = 1\n[[grid]]\n", "'epsilon' must not stand outside"),
        ("[grid]\n", r"write \[\[grid\]\]"),
        ("grid = = 1", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(UserError, match=says):
        read_grid(tmp_path / "grid.toml")
