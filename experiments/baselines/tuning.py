"""Each baseline's settings, chosen on validation, and its accuracy on the test: the same budget for all.

Of a row's trials the one with the greatest HR@10 over the whole catalogue on `validation_split`: the same
rule one step earlier, which has seen nothing of the test. With its settings all training events are fitted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.evaluation import BLOCK_SCORES
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.row import BaselineRow, Context, Settings
from terrycloth.experiments.evaluation.evaluate import Metrics, Scorer, evaluate
from terrycloth.experiments.evaluation.split import Holdout, Split, validation_split
from terrycloth.models.catalogue import Catalogue

LISTED = 10  # places that count


class Tuned(NamedTuple):
    """metrics: on the test. settings: chosen on validation."""

    metrics: Metrics
    settings: Settings


def tuned_baselines(
    split: Split, catalogue: Catalogue, names: Sequence[str] | None = None, *, sample: int = 0
) -> tuple[dict[str, Tuned], list[str]]:
    """By name, in the table's order, and why others are left out. names: None: all. sample: of `evaluate`."""
    rows = {name: row for name, row in BASELINES.items() if names is None or name in names}
    reasons = {name: row.left_out(split, catalogue) for name, row in rows.items()}
    validation: Split | None = None  # found once for all that are tuned
    found = {}
    for name, row in rows.items():
        settings: Settings = {}
        if reasons[name] is None and len(row.trials) > 1:
            validation = validation or validation_split(split, len(catalogue))
            if len(validation.test.tested(sample)):
                settings, _ = best_of(row, validation, catalogue, sample)
            else:
                reasons[name] = (
                    f"{row.label} is left out: one step before the test nobody could be tested, so it cannot "
                    "be tuned"
                )
        if reasons[name] is not None:
            continue
        scorer = row.scorer(Context.of(split, catalogue), settings)
        found[name] = Tuned(evaluate(scorer, split, len(catalogue), sample=sample), settings)
    return found, [reason for reason in reasons.values() if reason is not None]


def best_of(
    row: BaselineRow, validation: Split, catalogue: Catalogue, sample: int = 0
) -> tuple[Settings, float]:
    """The first of a baseline's settings that reach the greatest HR@10 on validation, and what that is.

    Each fit is made once, whatever it is then served with.
    """
    context = Context.of(validation, catalogue)
    best: tuple[Settings, float] | None = None
    for fitted in row.fits:
        serve = row.fit(context, fitted)
        for served in row.serves:
            reached = hit_rate(
                serve(served), validation.test, len(catalogue), validation.rule.repeats, sample
            )
            if best is None or reached > best[1]:
                best = fitted | served, reached
    assert best is not None
    return best


def hit_rate(scorer: Scorer, holdout: Holdout, num_items: int, repeats: bool, sample: int = 0) -> float:
    """HR@10 over the whole catalogue as `evaluate` has it, and nothing else, so several times as fast.

    0 where nobody can be tested; −1, below all other settings, where a score is NaN.
    """
    tested = holdout.tested(sample)
    block = max(1, BLOCK_SCORES // num_items)
    total = 0.0
    for start in range(0, len(tested), block):
        rows = tested[start : start + block]
        held, targets = holdout.history.take(rows), holdout.targets.take(rows)
        scores = scorer(held)
        if bool(torch.isnan(scores).any()):
            return -1.0
        of, items = torch.from_numpy(targets.devices), torch.from_numpy(targets.items)
        own = scores[of, items]
        scores = scores.clone()
        if not repeats:
            scores[torch.from_numpy(held.devices), torch.from_numpy(held.items.astype(np.int64))] = -torch.inf
            own = torch.where(scores[of, items] == -torch.inf, -torch.inf, own)
        scores[of, items] = -torch.inf
        ranks = ranks_among(scores, own, of)
        sums = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, of, (ranks <= LISTED).double())
        total += float((sums / torch.bincount(of, minlength=len(rows))).sum())
    return total / max(1, len(tested))


def ranks_among(others: Tensor, own: Tensor, rows: Tensor) -> Tensor:
    """Rank of each score among its row of others, as `metrics.ranks_alone` has it up to LISTED: [n].

    others: [rows, items]. A target placed at LISTED or better has fewer than 2 · LISTED others above it or
    level with it, so no more of each row need be looked at.
    """
    best = others.topk(min(2 * LISTED, others.shape[1]), dim=1).values[rows]
    above, level = (best > own.unsqueeze(1)).sum(dim=1), (best == own.unsqueeze(1)).sum(dim=1)
    return 1.0 + above.double() + 0.5 * level.double()
