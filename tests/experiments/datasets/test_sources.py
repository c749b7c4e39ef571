"""A data set is chosen by name; options that it ignores are refused, and missing ones are named."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from terrycloth.experiments.datasets import SOURCES, load
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.models.errors import UserError

GIVEN = DataOptions(
    path=Path(__file__),
    catalogue=Path(__file__),
    category="towels",
    shopper_column="who",
    item_column="what",
    time_column="when",
    weight_column="how-many",
    order_column="which",
    title_column="called",
    format="shopify",
    unknown_items="drop",
    keep_guests=True,
    visit="day",
    strict=True,
)
READ = {
    "towels": set(),
    "complete-journey": {"category", "visit"},
    "online-retail": {"path", "category", "visit"},
    "movielens": {"path", "visit"},
    "csv": {
        "path",
        "catalogue",
        "shopper_column",
        "item_column",
        "time_column",
        "weight_column",
        "order_column",
        "title_column",
        "format",
        "unknown_items",
        "keep_guests",
        "visit",
        "strict",
    },
}
IGNORED = [
    (name, option.name)
    for name in SOURCES
    for option in fields(DataOptions)
    if option.name not in {"devices", "data_seed", *READ[name]}
]


@pytest.mark.parametrize(("name", "option"), IGNORED)
def test_an_option_that_does_not_apply_is_refused(name, option):
    options = DataOptions(**{key: getattr(GIVEN, key) for key in (option, *SOURCES[name].needs)})
    flag = "--" + option.replace("_", "-")
    with pytest.raises(UserError, match=f"^{flag} does not apply to --data {name}: remove it$"):
        load(name, options)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_names_only_options_that_exist(name):
    assert {*SOURCES[name].needs, *SOURCES[name].accepts} == READ[name]


@pytest.mark.parametrize(
    ("name", "option"), [(name, need) for name in SOURCES for need in SOURCES[name].needs]
)
def test_a_missing_option_that_is_needed_is_named(name, option):
    needs = DataOptions(**{key: getattr(GIVEN, key) for key in SOURCES[name].needs})
    with pytest.raises(UserError, match=f"^--data {name} needs --{option}: the "):
        load(name, replace(needs, **{option: None}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(devices=0), "--devices 0 leaves no shopper"),
        (DataOptions(data_seed=-1), "--data-seed -1 is negative"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        load("towels", options)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"unknown_items": "ask"}, "--unknown-items ask is unknown: use error or drop"),
        ({"format": "etsy"}, "--format etsy is unknown: use one of auto, shopify"),
    ],
)
def test_unknown_choices_are_refused(option, message):
    with pytest.raises(UserError, match=message):
        load("csv", replace(GIVEN, category=None, **option))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="no data set 'towel': use one of towels, complete-journey"):
        load("towel", DataOptions())
