"""Choose each baseline's settings on validation and measure its accuracy on the test.

Every baseline has the same budget of trials. The trial with the greatest HR@10 in whole-catalogue ranking on
`validation_split` wins. That split applies the same rule one step earlier and uses nothing of the test. The
baseline is then fitted with these settings to all training events.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.evaluation import BLOCK_SCORES
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.row import BaselineRow, Context, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer, by_history, rank_targets
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Holdout, Split
from terrycloth.models.catalogue import Catalogue

LISTED = 10  # the k of HR@k


class Tuned(NamedTuple):
    """A tuned baseline. ranks: of the targets of the test. settings: chosen on validation."""

    ranks: Ranks
    settings: Settings


def tuned_baselines(
    split: Split,
    validation: Split,
    catalogue: Catalogue,
    names: Sequence[str] | None = None,
    *,
    sample: int = 0,
    step: Callable[[], None] | None = None,
) -> tuple[dict[str, Tuned], list[str]]:
    """Tune baselines and rank the targets of the test by them.

    Return the results by name, and the reasons why others are left out.
    The results are in the order of the table. validation: the `validation_split` of `split`. names: the
    baselines to tune; None means all. sample: the number of shoppers to test, as in `evaluate`. step: called
    after each trial.
    """
    rows = {name: row for name, row in BASELINES.items() if names is None or name in names}
    reasons = {name: row.left_out(split, catalogue) for name, row in rows.items()}
    tuned = {}
    for name, row in rows.items():
        settings: Settings = {}
        if reasons[name] is None and len(row.trials) > 1:
            if len(validation.test.tested(sample)):
                settings, _ = best_of(row, validation, catalogue, sample, step)
            else:
                reasons[name] = (
                    f"{row.label} is left out because it cannot be tuned: the validation split has no "
                    "shopper to test"
                )
        if reasons[name] is not None:
            continue
        scorer = row.scorer(Context.of(split, catalogue), settings)
        tuned[name] = Tuned(
            rank_targets(by_history(scorer, split.test), split, len(catalogue), sample=sample), settings
        )
    return tuned, [reason for reason in reasons.values() if reason is not None]


def best_of(
    row: BaselineRow,
    validation: Split,
    catalogue: Catalogue,
    sample: int = 0,
    step: Callable[[], None] | None = None,
) -> tuple[Settings, float]:
    """Return a baseline's settings with the greatest HR@10 on validation, and that HR@10.

    The first of equal settings wins. Each fit is made once and served with all settings in `serves`.
    """
    context = Context.of(validation, catalogue)
    best: tuple[Settings, float] | None = None
    for fitted in row.fits:
        serve = row.fit(context, fitted)
        for served in row.serves:
            reached = hit_rate(
                serve(served), validation.test, len(catalogue), validation.rule.repeats, sample
            )
            if step is not None:
                step()
            if best is None or reached > best[1]:
                best = fitted | served, reached
    assert best is not None
    return best


def hit_rate(scorer: Scorer, holdout: Holdout, num_items: int, repeats: bool, sample: int = 0) -> float:
    """Return HR@10 in whole-catalogue ranking, the same as `evaluate` computes but several times as fast.

    Returns 0 if no shopper can be tested. Returns −1, which is below every valid HR@10, if a score is NaN.
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
    """Return the rank of each score `own` [n] among the row of `others` that `rows` [n] names: float64 [n].

    others: [rows, items]. Ranks up to LISTED are those of `metrics.ranks_alone`. A target at rank LISTED or
    better has fewer than 2 · LISTED other scores above it or equal to it, so only the 2 · LISTED greatest
    scores of each row are compared.
    """
    best = others.topk(min(2 * LISTED, others.shape[1]), dim=1).values[rows]
    above, level = (best > own.unsqueeze(1)).sum(dim=1), (best == own.unsqueeze(1)).sum(dim=1)
    return 1.0 + above.double() + 0.5 * level.double()
