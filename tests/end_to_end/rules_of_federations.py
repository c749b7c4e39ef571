"""Checks of sums, accounting and sessions, and broken federations. test_fifteen_rules.py has the table.

A check raises AssertionError where its rule is broken. A variant breaks the real code with a patch.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Error, RecordDict
from safetensors import safe_open
from scipy.optimize import brentq
from scipy.stats import chi2, norm

import terrycloth.client.app
import terrycloth.client.device_group
import terrycloth.experiments.runs.simulation
import terrycloth.experiments.settings.planning
import terrycloth.models.privacy.accounting
import terrycloth.models.settings
import terrycloth.models.update
import terrycloth.server.strategy
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.ledger import Ledger
from terrycloth.client.policy import Policy
from terrycloth.client.secure.secure_session import Session, Stage
from terrycloth.client.state import DeviceState
from terrycloth.client.training.shopper_level import ClippedLeastSquaresTrainer
from terrycloth.experiments.engines.in_process import InProcessGrid
from terrycloth.experiments.reports.terminal import result_table
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import make_promise, resolve
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.secure_aggregation.messages import MaskedList, ProtocolError
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import REPLY_RECORD, Refusal, Reply, Request, digest, pack_request
from terrycloth.server.accountant import RunAccountant
from terrycloth.server.checkpoint import FILE, RoundRecord
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import FederatedSum
from tests.end_to_end.rules_of_devices import ALARM, Bench, flat, refusal_of, sent_by, state_of
from tests.end_to_end.test_secure_round import Federation
from tests.policies import ANYTHING
from tests.secure_round import Rehearsal
from tests.server.test_strategy import START, Nodes, hostile, reply, strategy

Patch = pytest.MonkeyPatch
DELTA = 1e-5


def gaussian(noise: float, delta: float = DELTA) -> float:
    """Return ε of one Gaussian step, computed here from its definition: Balle & Wang 2018, theorem 8."""

    def excess(epsilon: float) -> float:
        left, right = 0.5 / noise - epsilon * noise, -0.5 / noise - epsilon * noise
        return float(norm.cdf(left) - math.exp(epsilon) * norm.cdf(right)) - delta

    return float(brentq(excess, 0.0, 500.0, xtol=1e-12))


@contextmanager
def no_cached_results() -> Iterator[None]:
    """Empty the accountants' caches, so that a variant neither reads earlier results nor leaves any."""
    functions = ("epsilon_composed", "by_opacus_rdp", "privacy_loss")
    try:
        for name in functions:
            getattr(terrycloth.models.privacy.accounting, name).cache_clear()
        yield
    finally:
        for name in functions:
            getattr(terrycloth.models.privacy.accounting, name).cache_clear()


# 2 and 7: the server's sum


def denominator_is_public(bench: Bench) -> None:
    """The sum is divided by q·N = 5, whether two nodes answer or one, and however many devices they claim."""
    for lost, devices, moved in ((False, 1, 1.0), (False, 4, 1.0), (True, 1, 0.5)):

        def answer(node: int, request: Request, lost: bool = lost, n: int = devices) -> RecordDict | Error:
            return Error(code=1, reason="lost") if lost and node == 2 else reply(request, 2.5, devices=n)

        final = strategy(settings={"rounds": 1}, nodes=2).run(Nodes(2, answer).grid)
        assert torch.allclose(final["a"] - START["a"], torch.full((2,), moved))


def denominator_by_arrivals(patch: Patch) -> None:
    check, divide, came = FederatedSum.check, terrycloth.server.strategy.pseudo_gradient, [0]

    def count(self: FederatedSum, *rest: Any) -> Any:
        checked = check(self, *rest)
        came[0] = sum(answer.answered for answer in checked[0])
        return checked

    patch.setattr(FederatedSum, "check", count)
    patch.setattr(
        terrycloth.server.strategy, "pseudo_gradient", lambda total, expected: divide(total, came[0])
    )


DENOMINATOR = {"a denominator by arrivals": denominator_by_arrivals}


def bad_replies_are_left_out(bench: Bench) -> None:
    """If a reply holds anything but a sound update of this round, none of it is used, and it is counted."""
    for why in hostile(Request(START, strategy().settings)):

        def answer(node: int, request: Request, why: str = why) -> RecordDict:
            return hostile(request)[why] if node == 2 else reply(request, 2.5)

        run = strategy(settings={"rounds": 1}, nodes=2)
        final = run.run(Nodes(2, answer).grid)
        assert torch.allclose(final["a"] - START["a"], torch.full((2,), 0.5))
        assert run.progress.records[0].invalid == {why: 1}


def facts_are_not_checked(patch: Patch) -> None:
    patch.setattr(terrycloth.models.update, "unpack_facts", lambda facts, round: (facts["answered"], {}))


def sizes_are_not_checked(patch: Patch) -> None:
    patch.setattr(terrycloth.server.strategy, "check_size", lambda *rest: None)


def numbers_are_not_checked(patch: Patch) -> None:
    patch.setattr(torch, "isfinite", lambda tensor: torch.ones_like(tensor, dtype=torch.bool))


BAD_REPLIES = {
    "facts are not checked": facts_are_not_checked,
    "sizes are not checked": sizes_are_not_checked,
    "numbers are not checked": numbers_are_not_checked,
}


def result_says_who_measured(bench: Bench) -> None:
    """A result says whether devices released its accuracy; if none took part in the evaluation, none did."""
    coins = DeviceGroup.participation_draws
    for asked, comes, reported in (("simulator", 0, "simulator"), ("released", 0, "released"),
                               ("released", 2, "simulator")):  # fmt: skip
        config = RunConfig(
            devices=12, rounds=1, unit="shopper", noise_multiplier=1.0, evaluate=asked, central=False
        )
        with Patch.context() as patch:
            # From the second query on, which evaluates, every participation draw may be negative.
            patch.setattr(
                DeviceGroup, "participation_draws", lambda own, n, no=comes: coins(own, n) + (n > 1) * no
            )
            out = simulate(config, bench.folder / f"run-{next(bench.numbers)}")
        result = out.read_result()
        assert result.metrics.measured_by == reported
        caption = str(result_table(result).caption)
        assert ("not released" in caption) == (reported == "simulator")
        assert ("devices released" in caption) == (reported == "released")


def all_is_released(patch: Patch) -> None:
    real = terrycloth.experiments.runs.simulation.RunMetrics

    class Asked(real):  # type: ignore[misc, valid-type]
        @classmethod
        def model_validate(cls, facts: Any) -> Any:
            return real.model_validate({**facts, "measured_by": "released"})

    patch.setattr(terrycloth.experiments.runs.simulation, "RunMetrics", Asked)


WHO_MEASURED = {"a simulator's figure that passes for a released one": all_is_released}


# 6: amplification


def participation_amplifies_where_it_is_hidden(bench: Bench) -> None:
    """Under local and distributed trust participants are visible, so a round costs them its full ε.

    Under central trust it costs every device a little, also those that do not take part.
    """
    sampled, none = np.array([True, False]), np.zeros((2, 0), dtype=np.int64)
    for trust in ("local", "distributed", "central"):
        asked = bench.ask(unit="shopper", trust=trust, participation=0.1, noise_multiplier=2.0, rounds=9)
        everyone, new = np.ones_like(sampled), Ledger.empty(2)
        _, booked, _ = terrycloth.client.device_group.afford(new, none, everyone, sampled, asked, ANYTHING)
        came, stayed = new.after(booked, *asked.mechanism).epsilon(DELTA, only_renyi=asked.only_renyi)
        booked = RunAccountant(asked).book(asked)
        history = terrycloth.models.privacy.accounting.epsilon_composed(
            asked.history(9), DELTA, only_renyi=asked.only_renyi
        )
        if trust == "central":
            assert came == stayed == booked > 0.0
            assert booked < 0.8 * gaussian(2.0)  # this is the purpose of amplification
            continue
        assert stayed == 0.0
        assert min(came, booked) >= gaussian(2.0) - 1e-6
        # The ledger lets a device take part in three of nine rounds, and no more.
        assert history.epsilon >= gaussian(2.0 / 3**0.5) - 1e-6


def amplified_under_any_trust(patch: Patch) -> None:
    real = terrycloth.models.settings.round_mechanism

    def mechanism(unit: str, trust: str, **rest: Any) -> tuple[float, int]:
        return real(unit, "central" if trust == "local" else trust, **rest)

    patch.setattr(terrycloth.models.settings, "round_mechanism", mechanism)


def nonparticipants_pay_nothing(patch: Patch) -> None:
    real = terrycloth.client.device_group.afford

    def afford(*rest: Any) -> Any:
        took_part, _, refused = real(*rest)
        return took_part, took_part, refused

    patch.setattr(terrycloth.client.device_group, "afford", afford)


AMPLIFICATION = {
    "participation counted under local trust": amplified_under_any_trust,
    "under central trust devices that do not take part pay nothing": nonparticipants_pay_nothing,
}


# 8: all that is released is composed


def federation(
    bench: Bench, group: Any, settings: RoundSettings, on_round: Any = None, **reported: Any
) -> FederatedSum:
    """Run the two apps over one device group in this process."""
    grid = InProcessGrid(terrycloth.client.app.make_app(group), {}, 1)
    start = bench.copied(bench.build(settings))
    run = FederatedSum(
        start, settings, ServerSettings.model_validate({"catalogue": "c", **reported}), on_round
    )
    run.run(grid)
    return run


def evaluation_is_composed(bench: Bench) -> None:
    """After two rounds at σ = 2 and an evaluation at σ = 3, server, device and plan state the same cost."""
    measured = {"evaluate": True, "evaluation_noise": 3.0, "rounds": 2, "noise_multiplier": 2.0}
    settings = bench.ask(unit="shopper", run="one", **measured)
    folder = bench.group([1, 4], [], [6])
    run = federation(bench, folder, settings)
    assert run.progress.records[-1].evaluation is not None
    spent = gaussian((2 / 2.0**2 + 1 / 3.0**2) ** -0.5)
    assert run.progress.records[-1].epsilon == pytest.approx(spent, rel=1e-4)
    assert state_of(folder).ledger.epsilon(DELTA) == pytest.approx([spent] * 3, rel=1e-4)
    planned = terrycloth.models.privacy.accounting.epsilon_composed(
        settings.history(settings.last_round), DELTA
    )
    assert planned.epsilon == pytest.approx(spent, rel=1e-4)


def history_without_evaluation(patch: Patch) -> None:
    real = RoundSettings.history
    patch.setattr(RoundSettings, "history", lambda own, through: real(own, min(through, own.rounds)))


def server_omits_evaluation(patch: Patch) -> None:
    real = RunAccountant.book

    def book(self: RunAccountant, settings: RoundSettings) -> float:
        return self.epsilon if settings.evaluates else real(self, settings)

    patch.setattr(RunAccountant, "book", book)


def device_omits_evaluation(patch: Patch) -> None:
    real = terrycloth.client.device_group.afford

    def afford(*rest: Any) -> Any:
        took_part, booked, refused = real(*rest)
        settings: RoundSettings = rest[4]
        return took_part, booked & (not settings.evaluates), refused

    patch.setattr(terrycloth.client.device_group, "afford", afford)


EVALUATION_BOOKED = {
    "a history that leaves out the evaluation": history_without_evaluation,
    "a server that does not record it": server_omits_evaluation,
    "a device that does not record it": device_omits_evaluation,
}


def stopped_runs_continue_their_epsilon(bench: Bench) -> None:
    """ε continues where it stopped at the server, and on a device also if another run begins."""

    def stop(record: RoundRecord, parameters: Parameters) -> None:
        raise KeyboardInterrupt

    folder = bench.group([1, 4], [])
    kept = folder / "server"
    kept.mkdir()
    settings = bench.ask(unit="shopper", rounds=3, noise_multiplier=2.0, run="one")
    with pytest.raises(KeyboardInterrupt):
        federation(bench, folder, settings, stop, folder=kept)
    run = federation(bench, folder, settings, folder=kept, resume=True)
    spent = [record.epsilon for record in run.progress.records]
    assert spent == pytest.approx([gaussian(2.0 / rounds**0.5) for rounds in (1, 2, 3)], rel=1e-4)
    federation(bench, folder, settings.model_copy(update={"run": "two", "rounds": 1}))
    assert state_of(folder).ledger.epsilon(DELTA) == pytest.approx([gaussian(2.0 / 4**0.5)] * 2, rel=1e-4)


def server_starts_at_zero(patch: Patch) -> None:
    patch.setattr(RunAccountant, "load_state_dict", lambda *rest: None)


def device_starts_at_zero(patch: Patch) -> None:
    real = DeviceGroup.book

    def book(self: DeviceGroup, state: DeviceState, settings: RoundSettings, *rest: Any) -> DeviceState:
        if settings.round == 1:
            state.ledger = Ledger.empty(len(self.devices))
            state.day_start = state.ledger.steps
        return real(self, state, settings, *rest)

    patch.setattr(DeviceGroup, "book", book)


RESUMED = {
    "a resumed run whose ε starts at zero": server_starts_at_zero,
    "a ledger that starts at zero in each run": device_starts_at_zero,
}


def adapted_clip_is_accounted_for(bench: Bench) -> None:
    """The count of updates below the clip, sent beside an update, is covered by the noised sensitivity."""
    settings = bench.ask(unit="shopper", trust="central", clip_quantile=0.5, clip=0.05)
    model = bench.build(settings)
    for basket in ([1, 4, 4], [0, 1, 2, 3]):
        cohort = bench.gather(bench.held(basket))
        update, _ = ClippedLeastSquaresTrainer(model, settings).train(cohort, bench.copied(model))
        assert 0.99 * settings.sensitivity < float(flat(update).norm()) <= settings.sensitivity


def clip_is_all_the_sensitivity(patch: Patch) -> None:
    patch.setattr(RoundSettings, "sensitivity", property(lambda own: own.clip))


ADAPTED_CLIP = {"a count beside the update without noise for it": clip_is_all_the_sensitivity}


# 8 and 9: the ledger and the policy


def ledger_comes_first(bench: Bench) -> None:
    """When an answer is packed into its message, its cost is on disk: no later crash can lose it."""
    folder, on_disk = bench.group([1, 4], []), []
    real = terrycloth.client.app.pack_reply

    def pack(reply: Reply) -> RecordDict:
        on_disk.append(state_of(folder).ledger.steps.tolist())
        return real(reply)

    with Patch.context() as patch:
        patch.setattr(terrycloth.client.app, "pack_reply", pack)
        sent_by(folder, pack_request(bench.request(bench.ask(steps_per_round=3))))
    assert on_disk == [[[3], [3]]]


def ledger_after_the_reply(patch: Patch) -> None:
    """A crash in between loses what was recorded."""
    save, answer, late = DeviceState.save, terrycloth.client.app.answer, {}

    def later(state: DeviceState, path: Path) -> None:
        if state.query:
            late[path] = state
        else:
            save(state, path)

    def answered(*rest: Any) -> RecordDict:
        reply = answer(*rest)
        for path, state in late.items():
            save(state, path)
        return reply

    patch.setattr(DeviceState, "save", later)
    patch.setattr(terrycloth.client.app, "answer", answered)


LEDGER_FIRST = {"a ledger written after the reply": ledger_after_the_reply}


def policy_is_kept(bench: Bench) -> None:
    """Less noise than the minimum is refused, and so is a round beyond the run's or the device's budget."""
    floor = bench.group([1], policy="least_noise_multiplier = 1.0")
    asked = bench.request(bench.ask(noise_multiplier=0.99))
    assert refusal_of(floor, asked) == Refusal.NOISE
    assert not (floor / "state-0-of-1.safetensors").exists()
    # At δ = 1e-5 and σ = 1, one step costs ε = 4.4, two 6.6 and three 8.4.
    for budget, requested in ((7.0, 1e6), (50.0, 7.0)):
        folder = bench.group([1], policy=f"most_epsilon = {budget}")
        asked_rounds = [bench.request(bench.ask(round=number, epsilon=requested)) for number in (1, 2, 3)]
        assert [refusal_of(folder, one) for one in asked_rounds] == [None, None, Refusal.BUDGET]
        assert state_of(folder).ledger.steps.tolist() == [[2]]


def no_objection(patch: Patch) -> None:
    patch.setattr(Policy, "objection", lambda *rest: None)


def affording(change: Callable[[RoundSettings, Policy], tuple[RoundSettings, Policy]]) -> Any:
    def variant(patch: Patch) -> None:
        real = terrycloth.client.device_group.afford
        patch.setattr(
            terrycloth.client.device_group, "afford", lambda *rest: real(*rest[:4], *change(*rest[4:]))
        )

    return variant


POLICIES = {
    "less noise than the minimum is accepted": no_objection,
    "only the server's budget applies": affording(lambda asked, _: (asked, ANYTHING)),
    "one round more than the run's budget": affording(
        lambda asked, policy: (asked.model_copy(update={"epsilon": 1e9}), policy)
    ),
}


def unknown_settings_are_refused(bench: Bench) -> None:
    """A device that does not know every setting of a query refuses it."""
    folder = bench.group([1])
    for wish in ({"send-events": True}, {"protocol": 2}, {"trust": "server"}, {"noise_multiplier": -1.0}):
        content = pack_request(bench.request(bench.ask()))
        content["config"].update(wish)
        reply = sent_by(folder, content)
        assert reply.has_content()
        assert reply.content[REPLY_RECORD].get(f"refused.{Refusal.SETTINGS}") == 1
    assert not (folder / "state-0-of-1.safetensors").exists()


def known_settings_are_enough(patch: Patch) -> None:
    real = RoundSettings.from_record.__func__

    def lenient(cls: type, record: ConfigRecord) -> RoundSettings:
        known = {name: record[name] for name in record if name in RoundSettings.model_fields}
        return real(cls, ConfigRecord(known | {"protocol": 1}))

    patch.setattr(RoundSettings, "from_record", classmethod(lenient))


UNKNOWN = {"unknown settings are ignored": known_settings_are_enough}


# 10: accountants


@no_cached_results()
def accountants_agree(bench: Bench) -> None:
    """The reported ε is near that of another library's accountant, and of a formula where there is one.

    Opacus's PRV accountant gets (noise, rate, steps) here, and nothing that this project composed.
    """
    from opacus.accountants import PRVAccountant

    for noise, rate, steps in ((1.0, 0.05, 100), (2.0, 0.3, 20), (0.8, 0.01, 400)):
        other = PRVAccountant()
        other.history = [(noise, rate, steps)]
        with terrycloth.models.privacy.accounting.quiet():
            upper = other.get_epsilon(DELTA)  # 0.01 above its estimate, which is accurate to 0.01
        settings = bench.ask(
            unit="shopper", trust="central", participation=rate, noise_multiplier=noise, rounds=steps
        )
        ledger = Ledger.empty(1).after(np.array([True]), noise, rate, steps)
        books = RunAccountant(settings)
        books.releases.append((noise, rate, steps))
        for reported in (ledger.epsilon(DELTA)[0], books.epsilon):
            assert upper - 0.02 <= reported <= upper + 0.01
    for noise, steps in ((1.0, 1), (5.0, 30)):
        reported = terrycloth.models.privacy.accounting.epsilon_spent(noise, 1.0, steps, DELTA).epsilon
        assert reported == pytest.approx(gaussian(noise / steps**0.5), rel=1e-6)


def composing(change: Callable[[float, float, int], tuple[float, float, int]]) -> Callable[[Patch], None]:
    """Give both accountants of dp-accounting another history."""

    def variant(patch: Patch) -> None:
        real = terrycloth.models.privacy.accounting.compose

        def compose(accountant: Any, history: Any) -> None:
            real(accountant, tuple(change(*step) for step in history))

        patch.setattr(terrycloth.models.privacy.accounting, "compose", compose)

    return variant


def formula_of_another_noise(patch: Patch) -> None:
    real = terrycloth.models.privacy.accounting.by_analytic_gaussian
    patch.setattr(
        terrycloth.models.privacy.accounting,
        "by_analytic_gaussian",
        lambda history, delta: real(((history[0][0] * 1.01, 1.0, 1),), delta),
    )


ACCOUNTANTS = {
    "the sampling rate squared": composing(lambda noise, rate, steps: (noise, rate**2, steps)),
    "noise a tenth too large": composing(lambda noise, rate, steps: (1.1 * noise, rate, steps)),
    "half of the steps": composing(lambda noise, rate, steps: (noise, rate, steps // 2)),
    "a formula that is off by 1%": formula_of_another_noise,
}


# 11: noise is used once, and a promise states a seed


def seed_voids_the_promise(bench: Bench) -> None:
    config = RunConfig(unit="shopper", epsilon=4.0, rounds=2, seed=3)
    promise = make_promise(resolve(config, 200))
    assert "not private: seeded" in promise.label
    assert "not private" in promise.sentence()
    unseeded = make_promise(resolve(config.model_copy(update={"seed": None}), 200))
    assert "not private" not in unseeded.label + unseeded.sentence()


def seed_is_not_stated(patch: Patch) -> None:
    patch.setattr(
        terrycloth.experiments.settings.planning,
        "Promise",
        lambda **facts: Promise(**facts | {"seeded": False}),
    )


SEEDED = {"a seed that the promise does not state": seed_is_not_stated}


def sessions_share_no_noise(bench: Bench) -> None:
    """The difference of the sums of two sessions of one query has the noise of both.

    Two sums of the same noised vectors over different nodes would reveal what a few nodes sent.
    """
    folder = bench.folder / f"federation-{next(bench.numbers)}"
    folder.mkdir()
    nodes = Federation(folder, 4, noise_multiplier=2.0, rounds=2)
    (nodes.folder / "seed").write_text("3")
    first, second = (flat(nodes.run()[0]) for _ in range(2))
    grid = fixed_point(nodes.settings, len(first))
    # The mean is over q·N = 4 devices, with four shares in each of two sums, in single precision.
    variance = 2 * 4 * (grid.share * grid.step / 4) ** 2
    low, high = chi2.interval(1 - ALARM, len(first))
    assert low < float((first - second).square().sum()) / variance < high


def vector_is_masked_again(patch: Patch) -> None:
    real, kept = DeviceGroup.train, {}

    def train(self: DeviceGroup, state: DeviceState, request: Request) -> None:
        name = (self.partition, digest(request))
        if name not in kept:
            real(self, state, request)
            kept[name] = dict(state.update)
        state.update, state.replied = dict(kept[name]), True

    patch.setattr(DeviceGroup, "train", train)


SESSIONS = {"a noised vector that is masked again": vector_is_masked_again}


# 9: a node confirms one list only


def node_signs_one_list(bench: Bench) -> None:
    """A node refuses a second list of masked nodes, because two lists would reveal both secrets of a node."""
    rehearsal = Rehearsal(6)
    messages = rehearsal.until("confirm")
    listed = dict(zip(messages[0].masked, messages[0].signatures, strict=True))
    rehearsal.ask("confirm", 0, messages[0])
    del listed[rehearsal.names[5]]
    try:
        rehearsal.ask("confirm", 0, MaskedList([*listed], [*listed.values()]))
    except ProtocolError:
        return
    raise AssertionError("two lists are signed by one node")


def stages_in_any_order(patch: Patch) -> None:
    @contextmanager
    def answering(self: Session, stage: Stage) -> Iterator[None]:
        self.stage = stage
        yield

    patch.setattr(Session, "answering", answering)


ONE_LIST = {"a node that signs two lists": stages_in_any_order}


# 12: the checkpoint


def checkpoint_holds_the_model_alone(bench: Bench) -> None:
    """Under central trust the server sees sums without noise, and saves none of them."""
    folder, sums = bench.group([1, 4, 4], [6]), []
    kept = folder / "server"
    kept.mkdir()
    settings = bench.ask(unit="shopper", trust="central", noise_multiplier=0.01, epsilon=1e9, rounds=1)
    real = terrycloth.client.app.pack_reply

    def pack(answer: Reply) -> RecordDict:
        sums.append(answer.update)
        return real(answer)

    with Patch.context() as patch:
        patch.setattr(terrycloth.client.app, "pack_reply", pack)
        federation(bench, folder, settings, folder=kept)
    with safe_open(kept / FILE, framework="pt") as file:
        assert {name.split("/")[0] for name in file.keys()} <= {"parameter", "optimizer"}  # noqa: SIM118
    content = (kept / FILE).read_bytes()
    assert len(sums) == 1
    for tensor in sums[0].values():
        assert tensor.any()
        assert tensor.numpy().tobytes()[:16] not in content


def sum_is_kept(patch: Patch) -> None:
    save, add, sums = terrycloth.server.strategy.save_checkpoint, terrycloth.server.strategy.sum_updates, []

    def sum_updates(updates: list[Parameters]) -> Parameters:
        sums[:] = [add(updates)]
        return sums[0]

    def save_checkpoint(folder: Any, settings: Any, parameters: Any, optimizer: Any, progress: Any) -> None:
        kept = {
            f"last-{name}": torch.nn.Parameter(tensor.float())
            for total in sums
            for name, tensor in total.items()
        }
        save(folder, settings, parameters | kept, optimizer, progress)

    patch.setattr(terrycloth.server.strategy, "sum_updates", sum_updates)
    patch.setattr(terrycloth.server.strategy, "save_checkpoint", save_checkpoint)


CHECKPOINT = {"a sum without noise in the checkpoint": sum_is_kept}


# 15: the unit is what a shopper's device stores


def unit_is_what_is_stored(bench: Bench) -> None:
    """Neighbours differ in stored events, and a device stores its newest K events at most.

    δ is below one divided by all that may be stored, and the promise says where a split chose what is stored.
    """
    most = 3
    policy = ANYTHING.model_copy(update={"most_events": most})
    stored = []
    for number, basket in enumerate(([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4])):
        folder = bench.folder / f"store-{next(bench.numbers)}-{number}"
        DeviceGroup.create(folder, bench.shop, bench.held(basket), policy)
        stored.append(Events.load(folder / "events").items.tolist())
    assert [len(items) for items in stored] == [most] * 3
    assert stored[2] == [2, 3, 4], "the newest events are kept"

    config = RunConfig(unit="interaction", noise_multiplier=2.0, most_events=most, split="date")
    resolved = resolve(config, 100_000)
    assert resolved.delta == pytest.approx(0.1 / (100_000 * most))
    with pytest.raises(UserError, match="published whole"):
        resolve(config.model_copy(update={"delta": 1.0 / (100_000 * most)}), 100_000)

    by_date = make_promise(resolved).sentence()
    assert "events that a device stores to train on, which are at most its newest 3" in by_date
    assert "may move many of them" not in by_date
    for split in ("next-visit", "basket", "last-item"):
        requested = make_promise(resolved.model_copy(update={"split": split})).sentence()
        assert "one purchase before the split may move many of them" in requested


def everything_is_stored(patch: Patch) -> None:
    patch.setattr(Events, "newest", lambda self, most: self)


def oldest_are_stored(patch: Patch) -> None:
    def oldest(self: Events, most: int) -> Events:
        return self.keep(np.arange(len(self)) - np.repeat(self.offsets[:-1], self.counts) < most)

    patch.setattr(Events, "newest", oldest)


def delta_is_of_the_devices(patch: Patch) -> None:
    patch.setattr(terrycloth.experiments.settings.planning, "units_of", lambda config, devices: devices)


def split_is_not_stated(patch: Patch) -> None:
    reported = lambda **facts: Promise(**facts | {"of_training_events": False})  # noqa: E731
    patch.setattr(terrycloth.experiments.settings.planning, "Promise", reported)


STORED = {
    "a store without a bound": everything_is_stored,
    "the oldest events are stored": oldest_are_stored,
    "δ below one divided by the number of devices": delta_is_of_the_devices,
    "a split that the promise does not state": split_is_not_stated,
}
