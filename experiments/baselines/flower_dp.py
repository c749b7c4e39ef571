"""Flower's own differential privacy around FedAvg, as a user writes it today: a baseline.

`DifferentialPrivacyServerSideFixedClipping` (Flower 1.41) clips each client's update to norm C, averages, and
adds noise of deviation zC/N to the average. A Flower node is one device here, which takes plain SGD steps on
the run's own model, and keeps its shopper's vector.

What it promises: shopper level, central trust, (ε, δ) over all rounds, as long as all N devices answer. With
the number of devices fixed a device whose events go away changes the average by C/N at most, so z is the
noise multiplier, and the rounds compose without amplification, for all take part in each.

What it does not promise by itself, and what is done about it:

- FedAvg weighs a reply by its number of examples, which is private and raises the sensitivity: every device
  says 1. Given an accountant, as here, the strategy checks that.
- It averages over whoever came; one reply less moves the average by up to 2C/(N − 1). Given an accountant it
  releases nothing where one is missing.
- It divides by an update's norm, so a device that holds nothing, and changes nothing, ends the run; and an
  infinite update makes everyone's model NaN. Such a device moves one number by a millionth of C, which SLACK
  pays for.
- It averages parameters, not updates, one after the other in the arrays' own precision. In single precision
  one device would change how all that follow are rounded, which no clip bounds. In double precision, in which
  they are sent here, that is far below SLACK.
- Metrics are averaged and shown without noise: none but the weight is sent.
- Its noise is NumPy's, a Mersenne Twister's in floating point, so what `models/privacy/randomness.py` says of
  that holds the more.
"""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import NeighboringRelation, PrivacyConfig, SamplingMethod
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.experiments.runs.engines.in_process import InProcessGrid, be_the_server
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig, make_promise
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import noise_for
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.privacy.randomness import new_key, seeded_key
from terrycloth.models.privacy.trust import NoiseSource
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.update import from_arrays, to_arrays
from terrycloth.server.accountant import Accountant

MODELS = ("mf", "attributes")
MOST_DEVICES = 2_000  # a message each and a round: thirty rounds of them take some minutes
SLACK = 1e-5  # more noise than is booked, of z
LEAST_CHANGE = 1e-6  # of C

ARRAYS, METRICS, VECTOR, EXAMPLES = "arrays", "metrics", "vector", "num-examples"

# Chosen out of ten on a validation purchase of 600 towel shoppers, at ε = 8. FedAvg has no step but 1.
CLIP, LEARNING_RATE, STEPS = 0.3, 0.03, 3


def refuse(config: RunConfig) -> None:
    """Raise UserError for a run that it cannot be compared with, by what is known of it."""
    if config.unit != "shopper" or config.trust_model.source is not NoiseSource.SERVER:
        raise UserError("Flower's strategy is for --unit shopper and --trust central")
    if config.model not in MODELS:
        raise UserError(f"Flower's strategy trains by plain SGD: say --model {' or '.join(MODELS)}")
    if (config.devices or 0) > MOST_DEVICES:
        raise UserError(
            f"Flower's strategy takes one message a device and round: {config.devices:,} devices are more "
            f"than the {MOST_DEVICES:,} that take minutes"
        )


def asked_of(config: ResolvedConfig, promise: Promise) -> ResolvedConfig:
    """The settings of a run that keeps `promise` in its rounds: every device, its noise multiplier found.

    The release is noised once, by a trusted server, and every device is in it: nothing amplifies.
    """
    assert promise.epsilon is not None
    assert promise.delta is not None
    changes = {"participation": 1.0, "clip": CLIP, "clip_quantile": 0.0, "evaluate": "simulator"}
    noise = noise_for(promise.epsilon, promise.delta, 1.0, config.rounds)
    return config.model_copy(update={**changes, "noise_multiplier": noise})


def train_by_flower(
    config: ResolvedConfig, promise: Promise, catalogue: Catalogue, train: Events
) -> tuple[Recommender, Promise]:
    """The run's model by Flower's strategy, and what that promises. Raises UserError as `refuse` does."""
    refuse(config)
    asked = asked_of(config, promise)
    model = asked.recommender(catalogue)
    model.initialise(config.seed or 0)
    model.load_shared(rounds_of(asked, model, train))
    return model, make_promise(asked, catalogue_from_events=promise.catalogue_from_events)


def rounds_of(config: ResolvedConfig, model: Recommender, train: Events) -> Parameters:
    """All rounds in this process, one node a device. Returns the shared parameters."""
    devices = train.num_devices
    strategy = make_strategy(config)
    be_the_server()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    grid = InProcessGrid(make_client_app(config, model, train), {}, devices)
    # A device whose steps diverge has an update of infinite norm, which the strategy clips to nothing.
    with drawn_from(config.seed), np.errstate(over="ignore"):
        result = strategy.start(grid, in_double(model.shared_parameters()), num_rounds=config.rounds)
    if strategy.accountant is None or strategy.accountant.num_releases != config.rounds:
        raise RuntimeError("Flower's strategy did not release every round")
    return {name: tensor.float() for name, tensor in from_arrays(result.arrays).items()}


def make_strategy(config: ResolvedConfig) -> DifferentialPrivacyServerSideFixedClipping:
    """Every node in every round, with the project's accountant in place of Flower's."""
    devices = config.devices
    logging.getLogger("flwr").setLevel(logging.ERROR)
    fedavg = FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=devices,
        min_available_nodes=devices,
        weighted_by_key=EXAMPLES,
        arrayrecord_key=ARRAYS,
    )
    assert config.delta is not None
    accountant = Accountant(
        PrivacyConfig(
            target_delta=config.delta,
            population_size=devices,
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            sampling_method=SamplingMethod.NO_AMPLIFICATION,
        )
    )
    noise = config.noise_multiplier * (1.0 + SLACK)
    return DifferentialPrivacyServerSideFixedClipping(
        fedavg, noise, config.clip, devices, accountant=accountant
    )


def make_client_app(config: ResolvedConfig, model: Recommender, train: Events) -> ClientApp:
    """One device, which its partition's number names: plain local SGD, and the shopper's vector kept."""
    app = ClientApp()
    local = {"unit": "none", "noise_multiplier": 0.0, "clip": np.inf, "secure_aggregation": False}
    steps = {"learning_rate": LEARNING_RATE, "steps_per_round": STEPS, "sampling_rate": 1.0}
    trainer = SgdTrainer(model, config.model_copy(update={**local, **steps}).settings)
    key = new_key() if config.seed is None else seeded_key(config.seed)

    @app.train()
    def train_device(message: Message, context: Context) -> Message:
        device = int(context.node_config["partition-id"])
        sent = from_arrays(message.content.array_records[ARRAYS])
        asked = message.content.config_records["config"]
        round = int(str(asked["server-round"]))
        vector = torch.zeros(1, model.dim)
        if VECTOR in context.state:
            vector = from_arrays(context.state.array_records[VECTOR])[VECTOR]
        own = Cohort(np.array([device]), train.span(device, device + 1), vector, key, round)
        update, vector = trainer.train(own, {name: tensor.float() for name, tensor in sent.items()})
        context.state[VECTOR] = to_arrays({VECTOR: vector})
        trained = changed(sent, update, config.clip)
        reply = RecordDict({ARRAYS: in_double(trained), METRICS: MetricRecord({EXAMPLES: 1})})
        return Message(reply, reply_to=message)

    return app


def in_double(parameters: Parameters) -> ArrayRecord:
    """Parameters as Flower averages, noises and sends them back: in double precision."""
    return ArrayRecord({name: Array(tensor.double().numpy()) for name, tensor in parameters.items()})


def changed(sent: Parameters, update: Parameters, clip: float) -> Parameters:
    """What a device sends back: finite, and never just what it got, or the strategy would divide by zero."""
    trained = {name: sent[name] + update[name] for name in sent}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in trained.values()):
        trained = {name: tensor.clone() for name, tensor in sent.items()}
    if all(torch.equal(trained[name], sent[name]) for name in sent):
        first = trained[next(iter(trained))].view(-1)
        first[0] = torch.maximum(
            first[0] + LEAST_CHANGE * clip, torch.nextafter(first[0], torch.tensor(torch.inf))
        )
    return trained


@contextmanager
def drawn_from(seed: int | None) -> Iterator[None]:
    """Flower draws from the global generators of Python and NumPy: seeded where the run is, and put back."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(None if seed is None else seed % 2**32)  # noqa: NPY002
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
