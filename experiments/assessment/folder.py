"""The folder of an assessment: index.html, the page for people, and assessment.json, the same for programs.

Neither holds a value of a single shopper.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from terrycloth.experiments.assessment.assess import Assessment
from terrycloth.experiments.assessment.page import assessment_page
from terrycloth.experiments.assessment.period import Measured
from terrycloth.experiments.assessment.verdict import difference
from terrycloth.experiments.pages.page import write_page
from terrycloth.experiments.runs.files import write_whole

SCHEMA = 1


def write_assessment(found: Assessment, folder: Path, source: Sequence[str]) -> Path:
    """Write both files into an existing folder, and return the path of the page."""
    write_whole(folder / "assessment.json", json.dumps(as_json(found), indent=2, ensure_ascii=False) + "\n")
    page = folder / "index.html"
    write_page(assessment_page(found, source), page)
    return page


def as_json(found: Assessment) -> dict[str, Any]:
    """Return an assessment for JSON. Figures are out of 100 shoppers, unless their name says otherwise."""
    data, split = found.later.dataset, found.later.split
    label, unprotected = found.unprotected
    return {
        "schema": SCHEMA,
        "answer": found.verdict.answer.value,
        "sentence": found.verdict.sentence,
        "data": {
            "name": data.name,
            "devices": data.events.num_devices,
            "items": len(data.catalogue),
            "events": len(data.events),
            "tested": found.later.tested,
            "split": split.rule.name,
            "at": split.rule.date,
            "split_sentence": split.rule.sentence,
            "rows_read": data.report.rows_read,
            "rows_kept": data.report.rows_kept,
            "rows_dropped": data.report.rows_dropped,
        },
        "identifying": asdict(found.identifying),
        "columns": [{"column": each.column, **asdict(each.change)} for each in found.columns],
        "model": found.model,
        "promise": found.promise.model_dump(),
        "near_the_best": found.choice.near,
        "private": figures(found.private),
        "without_privacy": {"label": label, **figures(unprotected)},
        "alternatives": {
            each.name: {
                "label": each.label,
                **figures(each.later),
                "private_minus_this": asdict(difference(found.private, each.later)),
            }
            for each in found.alternatives
        },
        "left_out": found.left_out,
        "by_epsilon": [
            {
                "epsilon": epsilon,
                "caught": found.caught[epsilon],
                "per_100_by_times_as_many_shoppers": {
                    str(times): measured.per_100 for times, measured in sizes.items()
                },
            }
            for epsilon, sizes in found.at_sizes.items()
        ],
        "seconds": found.seconds,
    }


def figures(measured: Measured) -> dict[str, float]:
    """Return the figures of one recommender."""
    return {"per_100": measured.per_100, "hr@10": measured.hit_rate}
