"""A synthetic towel shop: it has no real shoppers, and the best possible accuracy in it is known.

The shop is a generative model. Its public part is the same for every `data_seed`. The model is

    catalogue   300 towels; towel i has one value of each attribute: size, colour, composition, weave, weight,
                and price, which follows from size, composition and weight.
    popularity  b_i = −s · log r_i, where r_i is the towel's place (1 … 300) when sorted by
                Σ_{a∈i} β_a + τ ε_i with β_a, ε_i ~ N(0, 1): Zipf's law of exponent s, partly explained
                by attributes and partly not.
    loadings    A_a ~ N(0, σ² I_K / K) for each attribute value a, with one σ per attribute.
    taste       z_u ~ N(0, I_K).
    choice      p_u(i) = softmax_i( b_i + Σ_{a∈i} A_a · z_u ).
    distinct    D_u = min(1 + N, 30) with N ~ Poisson(Λ), Λ ~ Gamma(shape, mean): at least one item, a long
                tail.
    order       i_1 … i_D: each new item is drawn from p_u restricted to what u has not bought: the
                Plackett–Luce model (Luce 1959; Plackett 1975).
    repeats     R_u ~ Poisson(ρ D_u) more purchases, at places drawn uniformly from those after the first.
    visits      each purchase after the first begins a visit with probability q, and otherwise belongs to the
                visit before it. So a visit's size is geometric, with mean 1/q, unless it is cut short. The
                first repeat begins a visit if it would otherwise belong to the first one, so that all items
                of a first visit are new.
    again       each repeat buys one of the items bought in earlier visits, drawn uniformly. An item drawn
                twice in a visit is bought once. So repeats and visits carry no information on taste.
    times       one instant per visit, drawn uniformly from 2025 and sorted, no two in the same second. The
                order inside a visit is not kept.
    group       one of four groups of uneven size, drawn independently of all the above. If an audit finds a
                difference between groups beyond chance, it has found a bug.

Every weight is 1. β, ε, A and the catalogue come from one constant seed. All else comes from (data_seed,
block of 2,000 shoppers), so that a smaller shop is the beginning of a larger one.

An order is drawn by an exponential race: item i arrives at E_i / p_u(i) with E_i ~ Exponential(1), and the
order of arrival is Plackett–Luce. (With −log of the arrival, this is the Gumbel-top-k trick: Yellott 1977;
Kool, van Hoof and Welling 2019.)

b + A z is an attribute factorisation with an item bias, so a model of attributes can learn it. `ceiling`
gives two accuracies: that of knowing z_u, and that of the best use of the purchases of u (towel_ceiling.py).
"""

from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.client.events import Events
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.towel_ceiling import ChoiceModel, ceilings
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue

Array = npt.NDArray[Any]

ITEMS = 300
DEFAULT_SHOPPERS = 2_000
SHOP_SEED = 1850  # seed of the catalogue, popularity and loadings: the same shop for every data_seed

# SIZES: the area in square metres. COMPOSITIONS: the price per square metre at 450 gsm, in pounds.
SIZES = {
    "face cloth": 0.09,
    "guest towel": 0.15,
    "hand towel": 0.45,
    "bath towel": 0.91,
    "bath sheet": 1.50,
    "beach towel": 1.60,
}
COMPOSITIONS = {
    "cotton": 14.0,
    "organic cotton": 19.0,
    "linen": 30.0,
    "bamboo": 20.0,
    "cotton-linen": 23.0,
    "microfibre": 9.0,
}
COLOURS = (
    "white", "ivory", "sand", "grey", "charcoal", "black",
    "blue", "navy", "teal", "green", "pink", "terracotta",
)  # fmt: skip
WEIGHTS = {"under 300 gsm": 250, "300–399 gsm": 350, "400–499 gsm": 450, "500–599 gsm": 550, "600+ gsm": 650}
WEAVES = {  # weave → the weights it is made in
    "terry": ("400–499 gsm", "500–599 gsm", "600+ gsm"),
    "velour": ("400–499 gsm", "500–599 gsm"),
    "waffle": ("under 300 gsm", "300–399 gsm"),
    "flatweave": ("under 300 gsm", "300–399 gsm"),
}
PRICES = {"under £5": 5.0, "£5–£9": 10.0, "£10–£19": 20.0, "£20–£34": 35.0, "£35 and over": np.inf}

TASTE_DIMENSIONS = 5
ZIPF_EXPONENT = 0.42
UNEXPLAINED_POPULARITY = 1.5  # τ, compared with six attributes of spread 1 each
# The exponent above and the spreads below are chosen so that HR@10 is about .115 for popularity, .235 for the
# best use of the history, and .30 for one who knows the taste, on the splits `date` and `next-visit`.
LOADING_SPREAD = {  # σ of each attribute: people differ most in the size they need and the colour they like
    "size": 0.7,
    "colour": 0.8,
    "composition": 0.6,
    "weave": 0.5,
    "weight": 0.3,
    "price": 0.4,
}

SHOPPERS_PER_BLOCK = 2_000
MOST_DISTINCT = 30
DISTINCT_SHAPE = 1.6
DISTINCT_MEAN = 7.6  # mean of Λ, which gives 8.5 distinct items per shopper
REPEATS_PER_DISTINCT = 0.4
NEW_VISIT = 0.4  # q
YEAR_START = 1_735_689_600  # 2025-01-01T00:00:00Z
YEAR_SECONDS = 365 * 24 * 3600
GROUPS = {"A": 0.45, "B": 0.30, "C": 0.18, "D": 0.07}


@dataclass(frozen=True)
class Block:
    """Shoppers drawn together: their tastes [n, K], groups [n] (an index into GROUPS) and events."""

    tastes: Array
    groups: Array
    events: Events


def load(options: DataOptions) -> Dataset:
    """Draw a shop of options.devices shoppers (None: 2,000) from options.data_seed."""
    shoppers = DEFAULT_SHOPPERS if options.devices is None else options.devices
    blocks = [
        draw_block(options.data_seed, start // SHOPPERS_PER_BLOCK, min(SHOPPERS_PER_BLOCK, shoppers - start))
        for start in range(0, shoppers, SHOPPERS_PER_BLOCK)
    ]
    events = join_events([block.events for block in blocks])
    tastes = np.concatenate([block.tastes for block in blocks])
    groups = np.concatenate([block.groups for block in blocks])
    return Dataset(
        name="towels",
        catalogue=catalogue(),
        events=events,
        report=ImportReport(
            source="synthetic, drawn at random",
            rows_read=len(events),
            rows_kept=len(events),
            columns_kept=["shopper", "item", "time", "weight"],
            notes=[
                f"synthetic shoppers, drawn with data seed {options.data_seed}: no real person is among them"
            ],
        ),
        groups=pd.DataFrame({"group": pd.Categorical.from_codes(groups, categories=pd.Index(list(GROUPS)))}),
        ceiling=partial(ceilings, choice_model(), tastes),
    )


@cache
def catalogue() -> Catalogue:
    """The same 300 towels for every seed. Any two differ in size, colour, composition, weave or weight."""
    weaves = [(weave, weight) for weave, weights in WEAVES.items() for weight in weights]
    makes = [
        (size, colour, composition, weave, weight)
        for size, colour, composition, (weave, weight) in product(SIZES, COLOURS, COMPOSITIONS, weaves)
        if not (composition == "linen" and weave == "velour")  # linen has no pile to shear
    ]
    chosen = np.sort(shop_generator("catalogue").choice(len(makes), ITEMS, replace=False))
    rows = [towel(number, *makes[index]) for number, index in enumerate(chosen, start=1)]
    return Catalogue(pd.DataFrame(rows))


def towel(number: int, size: str, colour: str, composition: str, weave: str, weight: str) -> dict[str, Any]:
    """One row of the catalogue."""
    return {
        ITEM: f"T{number:03d}",
        TITLE: f"{colour.capitalize()} {weave} {size}, {composition}, {WEIGHTS[weight]} gsm",
        "size": (size,),
        "colour": (colour,),
        "composition": (composition,),
        "weave": (weave,),
        "weight": (weight,),
        "price": (price_band(size, composition, weight),),
    }


def price_band(size: str, composition: str, weight: str) -> str:
    """The price band: £2 for the making, plus the cloth by area, fibre and weight."""
    pounds = 2.0 + SIZES[size] * COMPOSITIONS[composition] * WEIGHTS[weight] / 450
    return next(band for band, limit in PRICES.items() if pounds < limit)


@cache
def choice_model() -> ChoiceModel:
    """Popularity b [300] and loadings Σ_{a∈i} A_a [300, K], known to the ceilings but to no recommender."""
    table = catalogue().table
    popularity, loadings = shop_generator("popularity"), shop_generator("loadings")
    score = UNEXPLAINED_POPULARITY * popularity.standard_normal(ITEMS)
    item_loadings = np.zeros((ITEMS, TASTE_DIMENSIONS))
    for name, spread in LOADING_SPREAD.items():
        codes, values = pd.factorize(pd.Series([cell[0] for cell in table[name]]), sort=True)
        score += popularity.standard_normal(len(values))[codes]
        scale = spread / np.sqrt(TASTE_DIMENSIONS)
        item_loadings += scale * loadings.standard_normal((len(values), TASTE_DIMENSIONS))[codes]
    places = np.empty(ITEMS)
    places[np.argsort(-score)] = np.arange(1, ITEMS + 1)
    return ChoiceModel(
        appeal=(-ZIPF_EXPONENT * np.log(places)).astype(np.float32), loadings=item_loadings.astype(np.float32)
    )


def shop_generator(purpose: str) -> np.random.Generator:
    """The random generator, with a constant seed, of one public part of the shop."""
    purposes = ("catalogue", "popularity", "loadings")
    return np.random.default_rng(np.random.SeedSequence(SHOP_SEED, spawn_key=(purposes.index(purpose),)))


def draw_block(data_seed: int, block: int, shoppers: int) -> Block:
    """Draw the first `shoppers` shoppers of a block, which begins with shopper 2,000·block of the shop.

    The whole block is drawn and then cut, so that no shopper depends on how many there are.
    """
    seeds = np.random.SeedSequence(data_seed, spawn_key=(block,))
    generator = np.random.Generator(np.random.Philox(seeds))
    tastes = generator.standard_normal((SHOPPERS_PER_BLOCK, TASTE_DIMENSIONS), dtype=np.float32)
    groups = generator.choice(len(GROUPS), SHOPPERS_PER_BLOCK, p=list(GROUPS.values())).astype(np.int8)
    spread = generator.gamma(DISTINCT_SHAPE, DISTINCT_MEAN / DISTINCT_SHAPE, SHOPPERS_PER_BLOCK)
    distinct = np.minimum(1 + generator.poisson(spread), MOST_DISTINCT)
    repeats = generator.poisson(REPEATS_PER_DISTINCT * distinct)
    orders = draw_orders(generator, choice_model().probabilities(tastes), MOST_DISTINCT)
    events = draw_events(generator, orders, distinct, repeats)
    return Block(tastes[:shoppers], groups[:shoppers], events.span(0, shoppers))


def draw_orders(generator: np.random.Generator, probabilities: Array, length: int) -> Array:
    """Draw the first `length` items of one Plackett–Luce order per row: [n, items] → int [n, length].

    These are the `length` earliest arrivals of an exponential race whose rates are the probabilities.
    """
    arrivals = generator.standard_exponential(probabilities.shape, dtype=np.float32)
    arrivals /= probabilities
    earliest = np.argpartition(arrivals, length - 1, axis=1)[:, :length]
    by_arrival = np.argsort(np.take_along_axis(arrivals, earliest, axis=1), axis=1)
    return np.take_along_axis(earliest, by_arrival, axis=1)


def draw_events(generator: np.random.Generator, orders: Array, distinct: Array, repeats: Array) -> Events:
    """Turn orders [n, length] into visits of `distinct` [n] first purchases and `repeats` [n] among them."""
    counts = distinct + repeats
    starts = np.cumsum(counts) - counts
    device = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(device)) - starts[device]  # 0 for a shopper's first purchase
    is_new = draw_new(generator, device, place, distinct)
    begins = draw_begins(generator, is_new, starts, device)
    visit = np.cumsum(begins) - 1  # numbered over all shoppers
    bought = running_count(is_new, starts, device)  # distinct items up to and including this purchase
    earlier = (bought - is_new)[begins][visit]  # distinct items of the shopper's earlier visits
    again = (generator.random(len(device)) * earlier).astype(np.int64)  # uniform over those items
    items = orders[device, np.where(is_new, bought - 1, again)]
    pairs = np.unique(visit * ITEMS + items)  # sorted by visit and item, each item of a visit once
    visit, items = pairs // ITEMS, pairs % ITEMS
    owner = device[begins]  # the shopper of each visit
    times = draw_times(generator, np.bincount(owner, minlength=len(counts)), owner)
    counts = np.bincount(owner[visit], minlength=len(counts))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Events(offsets, items.astype(np.int32), times[visit], np.ones(len(items), dtype=np.float32))


def draw_new(generator: np.random.Generator, device: Array, place: Array, distinct: Array) -> Array:
    """Which purchases are of a new item, bool: the first, and distinct − 1 of the others, drawn uniformly."""
    keys = generator.random(len(device))
    keys[place == 0] = -0.5  # sorts the first purchase first
    drawn = np.argsort(2 * device + keys)  # each shopper's purchases, in random order
    is_new = np.empty(len(device), dtype=bool)
    is_new[drawn] = place < distinct[device]
    return is_new


def draw_begins(generator: np.random.Generator, is_new: Array, starts: Array, device: Array) -> Array:
    """Which purchases begin a visit, bool. starts: the index of each shopper's first purchase."""
    begins = generator.random(len(device)) < NEW_VISIT
    begins[starts] = True
    first_repeat = ~is_new & (running_count(~is_new, starts, device) == 1)
    begins[first_repeat & (running_count(begins, starts, device) == 1)] = True
    return begins


def running_count(marked: Array, starts: Array, device: Array) -> Array:
    """For each purchase, how many of the shopper's purchases up to and including it are marked: int64."""
    running: Array = np.cumsum(marked)
    running -= (running - marked)[starts][device]
    return running


def draw_times(generator: np.random.Generator, visits: Array, owner: Array) -> Array:
    """Draw the instant of each visit, in ascending order for each shopper.

    visits: [n], each shopper's number of visits. owner: the shopper of each visit.
    """
    place = np.arange(len(owner)) - (np.cumsum(visits) - visits)[owner]
    # Each shopper's draws are sorted, and draw k is moved by k seconds: they rise strictly, inside the year.
    instants = (generator.random(len(owner)) * (YEAR_SECONDS - visits[owner])).astype(np.int64)
    times: Array = np.sort(owner * YEAR_SECONDS + instants) - owner * YEAR_SECONDS + place + YEAR_START
    return times


def join_events(parts: list[Events]) -> Events:
    """Concatenate events, and renumber the devices."""
    counts = np.concatenate([part.counts for part in parts])
    return Events(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=np.concatenate([part.items for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
    )
