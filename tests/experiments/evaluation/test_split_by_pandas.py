"""Online Retail is split and scored a second time, from the raw file with pandas alone, with equal results.

The second computation uses nothing of the project except for the comparison at its end, to 1e-12. Customers
are matched by the order of their ids as text, and items by the order of their codes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.row import Context
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.evaluation.evaluate import evaluate
from terrycloth.experiments.evaluation.split import Holdout, Split, make_split, rule_for
from terrycloth.models.catalogue import Catalogue

PATH = Path(__file__).resolve().parents[4] / "shared" / "data" / "online-retail" / "online-retail.parquet"
DATE = "2011-11-02"

pytestmark = [pytest.mark.realdata, pytest.mark.skipif(not PATH.exists(), reason=f"{PATH} is not here")]


@pytest.fixture(scope="module")
def ours() -> Dataset:
    return load("online-retail", DataOptions(path=PATH))


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    """Return purchases of products by known customers: customer and item (numbers), visit (invoice time)."""
    raw = pd.read_parquet(PATH)
    raw = raw[raw["CustomerID"].notna() & raw["Description"].notna() & (raw["Quantity"] >= 1)]
    code = raw["StockCode"].astype(str).str.strip().str.upper()
    invoice = raw["InvoiceNo"].astype(str).str.strip()
    raw = raw.assign(code=code, invoice=invoice)[
        code.str.fullmatch(r"\d{5}[A-Z]*") & ~invoice.str.startswith("C")
    ]
    raw = raw.assign(customer=raw["CustomerID"].astype(float).astype(int).astype(str))
    raw = raw.assign(time=pd.to_datetime(raw["InvoiceDate"]))
    visit = raw.groupby(["customer", "invoice"])["time"].transform("min")
    return pd.DataFrame(
        {
            "customer": raw["customer"].rank(method="dense").astype(int) - 1,
            "item": raw["code"].rank(method="dense").astype(int) - 1,
            "visit": visit,
        }
    )


@dataclass
class PandasSplit:
    """The second split: `train` holds rows, and `targets` distinct pairs of customer and item."""

    train: pd.DataFrame
    targets: pd.DataFrame


def by_next_visit(lines: pd.DataFrame) -> PandasSplit:
    first = lines.groupby(["customer", "item"])["visit"].min().rename("first").reset_index()
    last = first.groupby("customer")["first"].max().rename("last")
    begun = lines.groupby("customer")["visit"].min()
    tested = last[last > begun]
    joined = lines.merge(tested, left_on="customer", right_index=True, how="left")
    train = lines[(joined["last"].isna() | (joined["visit"] < joined["last"])).to_numpy()]
    new = first.merge(tested, left_on="customer", right_index=True)
    return PandasSplit(train, new.loc[new["first"] == new["last"], ["customer", "item"]])


def by_date(lines: pd.DataFrame) -> PandasSplit:
    at = lines["visit"].sort_values().iloc[int(0.8 * (len(lines) - 1))].normalize()
    assert str(at.date()) == DATE
    train, later = lines[lines["visit"] < at], lines[lines["visit"] >= at]
    later = later[later["customer"].isin(train["customer"])]
    pairs = later[["customer", "item"]].drop_duplicates()
    held = train[["customer", "item"]].drop_duplicates().assign(held=True)
    joined = pairs.merge(held, how="left", on=["customer", "item"])
    return PandasSplit(train, joined.loc[joined["held"].isna(), ["customer", "item"]])


def popularity_metrics(found: PandasSplit, num_items: int) -> tuple[float, float]:
    """Return hr@10 and anyhit@10 of popularity, customer by customer and target by target."""
    held = found.train[["customer", "item"]].drop_duplicates()
    buyers = held["item"].value_counts().reindex(range(num_items), fill_value=0).to_numpy()
    owned = held.groupby("customer")["item"].agg(list)
    shares, anything = [], []
    for customer, own in found.targets.groupby("customer")["item"]:
        ranked = np.ones(num_items, dtype=bool)
        ranked[owned[customer]] = False
        ranked[own.to_numpy()] = False
        others = np.sort(buyers[ranked])
        scores = buyers[own.to_numpy()]
        better = len(others) - np.searchsorted(others, scores, side="right")
        level = np.searchsorted(others, scores, side="right") - np.searchsorted(others, scores)
        hits = 1 + better + level / 2 <= 10
        shares.append(hits.mean())
        anything.append(hits.any())
    return float(np.mean(shares)), float(np.mean(anything))


@pytest.mark.slow
def test_both_read_the_same_rows(ours: Dataset, lines: pd.DataFrame) -> None:
    assert len(lines) == len(ours.events) == 396_370
    assert lines["customer"].nunique() == ours.events.num_devices == 4_335
    assert lines["item"].nunique() == len(ours.catalogue) == 3_659
    assert rows_of(ours.events) == sorted(rows_in(lines))


def rows_of(events: Events) -> list[tuple[int, int, int]]:
    """Return (device, item, visit) of every event, sorted."""
    columns = (events.devices, events.items, events.times)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def rows_in(lines: pd.DataFrame) -> list[tuple[int, int, int]]:
    seconds = lines["visit"].dt.as_unit("s").astype("int64")
    return list(zip(lines["customer"].tolist(), lines["item"].tolist(), seconds.tolist(), strict=True))


def pairs_of(targets: Targets) -> list[tuple[int, int]]:
    return list(zip(targets.devices.tolist(), targets.items.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tested", "targets", "rounded"),
    [("next-visit", 2_745, 40_059, None), ("date", 1_435, 32_703, (0.0203, 0.2516))],
)
def test_both_give_the_same_split_and_the_same_figures(
    name: str,
    tested: int,
    targets: int,
    rounded: tuple[float, float] | None,
    ours: Dataset,
    lines: pd.DataFrame,
) -> None:
    second = by_next_visit(lines) if name == "next-visit" else by_date(lines)
    split = make_split(ours, rule_for(ours, name), most=1)  # type: ignore[arg-type]
    assert split.rule.date == (DATE if name == "date" else None)
    assert rows_of(split.train) == sorted(rows_in(second.train))
    found = sorted(zip(second.targets["customer"], second.targets["item"], strict=True))
    assert pairs_of(split.test.targets) == found
    assert (second.targets["customer"].nunique(), len(found)) == (tested, targets)
    assert (len(split.test.tested()), len(split.test.targets)) == (tested, targets)
    num_items = len(ours.catalogue)
    hr, anyhit = popularity_metrics(second, num_items)
    full = popularity_by_project(split, ours.catalogue)
    assert full["hr@10"] == pytest.approx(hr, abs=1e-12, rel=0)
    assert full["anyhit@10"] == pytest.approx(anyhit, abs=1e-12, rel=0)
    if rounded is not None:
        assert (round(hr, 4), round(anyhit, 4)) == rounded


def popularity_by_project(split: Split, catalogue: Catalogue) -> dict[str, float]:
    scorer = BASELINES["popularity"].scorer(Context.of(split, catalogue), {})
    without_negatives = replace(split, test=Holdout(split.test.history, split.test.targets))
    return evaluate(scorer, without_negatives, len(catalogue))["full"]
