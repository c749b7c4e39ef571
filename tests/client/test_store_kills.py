"""kill -9 of a device at random instants while it answers and its shopper buys: nothing is lost.

A child process buys and answers one question after the other, and says what it is about to do and what it
did. It is killed. Then the store holds all that the child said it did, and at most what it was about to do.
"""

import contextlib
import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest

from terrycloth.client.store import DeviceStore
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import digest
from tests.client.store_life import Shared, answer, live, question

SEED = 20261201
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.client.store_life"])


def killed(folder: Path, shared: Shared, settings: RoundSettings, number: int, after: float) -> list[tuple]:
    """What a child said until it was killed, so many seconds after its first word."""
    hears, told = FORKS.Pipe(duplex=False)
    child = FORKS.Process(target=live, args=(folder, shared, settings, number, told))
    child.start()
    told.close()
    said = [hears.recv()]
    child.join(after)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL  # it did not end by itself
    with contextlib.suppress(EOFError):
        while True:
            said.append(hears.recv())
    hears.close()
    return said


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, 200])
def test_a_device_that_is_killed_at_any_instant_loses_nothing(kills, device, ask, build, monkeypatch):
    store = device([], key_file=True)  # the key ring of tests lives in one process's memory
    settings = ask(epsilon=1e9, rounds=10_000, noise_multiplier=50.0)
    shared = {
        name: each.detach().numpy().copy() for name, each in build(settings).shared_parameters().items()
    }
    instants = random.Random(SEED)
    answer(store.folder, question(0, shared, settings))  # this one also imports and compiles
    began = time.monotonic()
    answer(store.folder, question(1, shared, settings))
    longest = 8 * (time.monotonic() - began)  # seconds that a child lives after its first word
    number, held, spent = 2, 0, 2
    kinds = {"answered": 0, "charged": 0, "not charged": 0}
    read: list[int] = []
    real = DeviceStore.events
    monkeypatch.setattr(DeviceStore, "events", lambda own, items: (read.append(1), real(own, items))[1])
    for _ in range(kills):
        said = killed(store.folder, shared, settings, number, instants.uniform(0.0, longest))
        acts = ("buys", "bought", "is asked", "answered")
        done = {act: [each for each in said if each[0] == act] for act in acts}
        last = max((each[1] for each in done["is asked"]), default=number - 1)
        # Purchases: all that were said to be made, and at most the one in hand.
        now = len(store.held())
        assert held + len(done["bought"]) <= now <= held + len(done["buys"])
        # Charges: an answer that left is charged, a question at most once, and a receipt goes with an answer.
        state = store.state()
        steps = int(state.ledger.steps.sum())
        assert spent + len(done["answered"]) <= steps <= spent + len(done["is asked"])
        assert steps == state.asked
        assert len(store.receipts()) == steps - (not state.replied)
        # The question in hand, asked again by the next process: if it was charged, as to an empty device.
        charged = state.query == digest(question(last, shared, settings)).hex()
        kind = "not charged" if not charged else "answered" if state.replied else "charged"
        kinds[kind] += 1
        read.clear()
        again = answer(store.folder, question(last, shared, settings))
        assert len(read) == (kind == "not charged")
        if done["answered"] and done["answered"][-1][1] == last:
            assert (kind, again) == ("answered", done["answered"][-1][2])
        number, held, spent = last + 1, now, int(store.state().ledger.steps.sum())
        assert spent == steps + (kind == "not charged")
    print(kinds)
    if kills >= 100:
        assert all(count >= 5 for count in kinds.values()), kinds
