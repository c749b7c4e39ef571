"""What a device's store holds, for its owner: as text, and as JSON (GDPR, Art. 15 and 20)."""

import json
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from terrycloth.client.receipts import TRAINING
from terrycloth.client.store import DeviceStore
from terrycloth.experiments.runs.files import write_whole

LAST_RECEIPTS = 10


def print_store(store: DeviceStore) -> None:
    """Print what the device holds, what was consented to, what left it and how to end that."""
    held, days = store.held(), store.retention_days()
    kept = "until they are erased" if days is None else f"for {days} days"
    print(f"{len(held):,} events on this device, kept {kept}; they never leave it")
    consents = store.consents()
    print("consents:" if consents else f"no consent: nothing is trained; terry device consent {store.folder}")
    for consent in consents:
        print(f"  {consent}")
    receipts = store.receipts()
    shown = receipts[-LAST_RECEIPTS:]
    print(
        f"receipts, the newest {len(shown)} of {len(receipts)}:"
        if receipts
        else "nothing has left this device"
    )
    for receipt in shown:
        print(f"  {receipt}")
    if any(each.withdrawn is None and each.purpose == TRAINING for each in consents):
        print(f"to withdraw: terry device withdraw {store.folder}")
    print(f"to erase what is held: terry device erase {store.folder}")


def contents(store: DeviceStore) -> dict[str, Any]:
    """Everything that the store holds about its shopper, as JSON types. An ε that is not limited is null."""
    receipts = [asdict(receipt) for receipt in store.receipts()]
    return {
        "schema": 1,
        "retention_days": store.retention_days(),
        "events": [{"item": item, "time": time, "weight": weight} for item, time, weight in store.held()],
        "vector": store.state().vectors[0].tolist(),
        "consents": [asdict(consent) for consent in store.consents()],
        "receipts": [
            each | {"epsilon": None if each["epsilon"] == inf else each["epsilon"]} for each in receipts
        ],
    }


def export(store: DeviceStore, path: Path) -> None:
    """Write `contents` into a new file that only its owner can read. Raises UserError if it cannot be."""
    text = json.dumps(contents(store), indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text, "name another file, or free some space")
