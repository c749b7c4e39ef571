"""`terry privacy plan`: compute a promise without data, with the same code as `terry simulate`."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.runs.run_folder import created
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import LEAST_NODES, ResolvedConfig, make_promise, resolve
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import Spent, epsilon_by_each, epsilon_composed
from terrycloth.models.privacy.promise import Promise, rounded_up

SCHEMA = 1
FALSE_POSITIVES = (0.001, 0.01, 0.1)
ROWS_SHOWN = 8


@dataclass(frozen=True)
class PrivacyPlan:
    """A promise and what it means.

    accountants: ε by each accountant. spending: pairs (round, ε after it), up to the last round. attacker:
    pairs (false positive rate, highest true positive rate).
    """

    config: ResolvedConfig
    promise: Promise
    accountants: list[Spent]
    spending: list[tuple[int, float]]
    attacker: list[tuple[float, float]]


def make_privacy_plan(config: RunConfig, points: int = ROWS_SHOWN) -> PrivacyPlan:
    """Resolve a configuration as a run would, and compute its privacy.

    points: number of rounds at which ε is computed. Raises UserError if there is no promise to plan.
    """
    devices = config.devices
    if devices is None:
        raise UserError("a plan needs the number of devices: pass --devices")
    if config.unit == "none":
        raise UserError(
            "without a promise there is nothing to plan: pass --unit shopper or --unit interaction"
        )
    if config.trust_model.secure_aggregation and config.secure_aggregation is None:
        config = config.model_copy(
            update={"nodes": max(LEAST_NODES, config.nodes)}
        )  # the minimum in a deployment
    resolved = resolve(config, devices)
    promise = make_promise(resolved)
    if promise.delta is None or promise.epsilon is None:
        raise UserError("without noise there is no promise to plan: pass --noise-multiplier above 0")
    settings = resolved.settings
    delta, renyi = promise.delta, settings.only_renyi
    spending = [
        (done, epsilon_composed(settings.history(done), delta, only_renyi=renyi).epsilon)
        for done in spread(settings.last_round, points)
    ]
    whole = settings.history(settings.last_round)
    return PrivacyPlan(
        config=resolved,
        promise=promise,
        accountants=epsilon_by_each(whole, delta, only_renyi=renyi),
        spending=spending,
        attacker=[(false, promise.caught(false)) for false in FALSE_POSITIVES],
    )


def spread(last: int, points: int) -> list[int]:
    """Return at most `points` evenly spaced rounds, including the last."""
    return sorted({math.ceil(last * part / points) for part in range(1, points + 1)})


def new_folder(out: Path) -> None:
    """Raise UserError if the path exists."""
    if out.exists():
        raise UserError(f"{out} exists: choose another --out, or remove it")


def write_plan(plan: PrivacyPlan, out: Path) -> None:
    """Write plan.json, epsilon.png and epsilon.svg into a new folder. Raises UserError if that fails."""
    from terrycloth.experiments.reports.figures import draw_plan

    values = {
        "schema": SCHEMA,
        "devices": plan.config.devices,
        "model": plan.config.model,
        "promise": plan.promise.model_dump(),
        "sentence": plan.promise.sentence(),
        "accountants": {spent.accountant: spent.epsilon for spent in plan.accountants},
        "spending": [{"round": done, "epsilon": epsilon} for done, epsilon in plan.spending],
        "attacker": [
            {"false_positive_rate": false, "true_positive_rate_at_most": true}
            for false, true in plan.attacker
        ],
    }
    with created(out, needed_bytes=2**20) as folder:
        (folder.path / "plan.json").write_text(
            json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        draw_plan(folder.path, plan)


def print_plan(plan: PrivacyPlan) -> None:
    """Print the promise as a sentence, its mechanism and its tables. No number is rounded down."""
    console = make_console()
    console.print(plan.promise.sentence())
    console.print(mechanism(plan))
    accountants = Table("accountant", "ε", title="ε over all rounds")
    for spent in plan.accountants:
        reported = spent.accountant == plan.promise.accountant
        accountants.add_row(spent.accountant, rounded_up(spent.epsilon, 4), style="bold" if reported else "")
    accountants.caption = "Each is an upper bound; the\ntightest one is promised."
    spending = Table("rounds done", "ε", title="ε over the rounds")
    shown = spread(plan.config.settings.last_round, ROWS_SHOWN)
    for done, epsilon in plan.spending:
        if done in shown:
            spending.add_row(f"{done:,}", rounded_up(epsilon, 4))
    attacker = Table(
        "share of those not in the data\nthat are wrongly called in it",
        "share of those in the data that are\nrightly called in it, at most",
        title="What an attacker who sees every release can do",
        caption="The attacker knows all data except the unit in question.",
    )
    for false, true in plan.attacker:
        attacker.add_row(f"{100 * false:g}%", f"{rounded_up(100 * true)}%")
    for table in (accountants, spending, attacker):
        console.print(table)


def mechanism(plan: PrivacyPlan) -> str:
    """Return a description of the noise, of who adds it, and of the sampling in the accounting."""
    promise, settings = plan.promise, plan.config.settings
    adds = promise.trust_model.adds_noise
    deviation = promise.noise_multiplier * (promise.clip or 0.0)
    one_step = promise.steps_per_round == 1
    steps = "one Gaussian step" if one_step else f"{promise.steps_per_round} Gaussian steps"
    no_sampling = promise.sampling_rate == 1.0
    sampling = "no sampling" if no_sampling else f"sampling at a rate of {promise.sampling_rate:g}"
    by_round = ""
    if len(settings.noise_factors) > 1:
        each = " and ".join(f"{settings.at(round).noise:.4g}" for round in range(1, settings.rounds + 1))
        by_round = f" That is for all rounds together; the single rounds have {each}."
    return (
        f"Noise multiplier {promise.noise_multiplier:.4g}, clip {promise.clip:g}: noise of standard "
        f"deviation {deviation:.4g}; {adds}. A round counts as {steps}, with {sampling}." + by_round
    )
