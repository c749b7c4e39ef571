"""`terry data check`: what an export holds, what is wrong with it, and how identifying it is."""

import json
from dataclasses import asdict
from typing import Any

from terrycloth.experiments.assessment.identifying import Identifying, identifying
from terrycloth.experiments.assessment.parts import identifying_sentences
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.reports.inspection import print_dataset

SCHEMA = 1


def print_check(dataset: Dataset, *, as_json: bool) -> None:
    """Print the account of an import and how identifying the data are, as tables or as JSON."""
    found = identifying(dataset.events, dataset.catalogue, dated=dataset.times_known)
    if as_json:
        print(json.dumps(check_as_json(dataset, found), indent=2, ensure_ascii=False))
        return
    print_dataset(dataset)
    console = make_console()
    for sentence in identifying_sentences(found):
        console.print(sentence)


def check_as_json(dataset: Dataset, found: Identifying) -> dict[str, Any]:
    """Return the same for JSON. It holds no value of a single shopper."""
    return {
        "schema": SCHEMA,
        "import": dataset.report.to_json(),
        "devices": dataset.events.num_devices,
        "items": len(dataset.catalogue),
        "events": len(dataset.events),
        "attributes": dataset.catalogue.attributes,
        "identifying": asdict(found),
    }
