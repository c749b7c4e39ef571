"""A baseline that uses Flower's own differential privacy around FedAvg, as a Flower user writes it today.

`DifferentialPrivacyServerSideFixedClipping` (Flower 1.42) clips each client's update to norm C, averages the
updates, and adds noise with standard deviation zC/N to the average. Here a Flower node is one device. It
takes plain SGD steps on the run's own model and keeps its shopper's vector.

The baseline promises (ε, δ) over all rounds at shopper level under central trust, as long as all N devices
reply. The number of devices is fixed, so removing one device's events changes the average by at most C/N.
Therefore z is the noise multiplier. The rounds compose without amplification, because every device takes part
in each round.

The strategy alone does not keep this promise. The gaps and their remedies here are:

- FedAvg weighs a reply by its number of examples, which is private and raises the sensitivity. Here every
  device sends the weight 1. The strategy checks this because it has an accountant.
- FedAvg averages the replies that arrive, and one missing reply moves the average by up to 2C/(N − 1). With
  an accountant the strategy releases nothing if a reply is missing.
- The strategy divides by an update's norm, so a device without events, whose update is zero, would end the
  run. An infinite update would make the model NaN for everyone. Here such a device moves one number by a
  millionth of C, and SLACK covers this change.
- FedAvg averages parameters, not updates, one after the other in the precision of the arrays. In single
  precision one device would change the rounding of all later terms, which clipping does not bound. Here the
  arrays are sent in double precision, where the effect is far below SLACK.
- FedAvg averages and shows metrics without noise. Here devices send no metric except the weight.
- The noise comes from NumPy's Mersenne Twister in floating point, so the limits that
  `models/privacy/randomness.py` describes apply even more.
"""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import NeighboringRelation, PrivacyConfig, RdpAccountant, SamplingMethod
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.experiments.engines.in_process import InProcessGrid, be_the_server
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

MODELS = ("mf", "attributes")
MOST_DEVICES = 2_000  # one message per device and round: thirty rounds of these take a few minutes
SLACK = 1e-5  # noise added beyond what the promise counts, as a fraction of z
LEAST_CHANGE = 1e-6  # as a fraction of C

ARRAYS, METRICS, VECTOR, EXAMPLES = "arrays", "metrics", "vector", "num-examples"

# Chosen among ten settings on a validation purchase of 600 towel shoppers, at ε = 8. FedAvg's server step
# size is always 1.
CLIP, LEARNING_RATE, STEPS = 0.3, 0.03, 3


def refuse(config: RunConfig) -> None:
    """Raise UserError if the settings given so far rule out a comparison with Flower's strategy."""
    if config.unit != "shopper" or config.trust_model.source is not NoiseSource.SERVER:
        raise UserError("Flower's strategy needs --unit shopper and --trust central")
    if config.model not in MODELS:
        raise UserError(f"Flower's strategy trains by plain SGD: use --model {' or '.join(MODELS)}")
    if (config.devices or 0) > MOST_DEVICES:
        raise UserError(
            f"Flower's strategy sends one message per device and round: {config.devices:,} devices are more "
            f"than the {MOST_DEVICES:,} that it can train in minutes; lower --devices"
        )


def flower_config(config: ResolvedConfig, promise: Promise) -> ResolvedConfig:
    """Return a run's settings for Flower's strategy, with the noise multiplier that keeps `promise`.

    Every device takes part in every round and a trusted server adds the noise, so nothing is amplified.
    """
    assert promise.epsilon is not None
    assert promise.delta is not None
    changes = {"participation": 1.0, "clip": CLIP, "clip_quantile": 0.0, "evaluate": "simulator"}
    noise = noise_for(promise.epsilon, promise.delta, 1.0, config.rounds)
    return config.model_copy(update={**changes, "noise_multiplier": noise})


def train_by_flower(
    config: ResolvedConfig, promise: Promise, catalogue: Catalogue, train: Events
) -> tuple[Recommender, Promise]:
    """Train the run's model by Flower's strategy. Return the model and its promise.

    Raises UserError as `refuse` does.
    """
    refuse(config)
    own_config = flower_config(config, promise)
    model = own_config.recommender(catalogue)
    model.initialise(config.seed or 0)
    model.load_shared(train_rounds(own_config, model, train))
    return model, make_promise(own_config, catalogue_from_events=promise.catalogue_from_events)


def train_rounds(config: ResolvedConfig, model: Recommender, train: Events) -> Parameters:
    """Run all rounds in this process, with one node per device. Return the shared parameters."""
    devices = train.num_devices
    strategy = make_strategy(config)
    be_the_server()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    grid = InProcessGrid(make_client_app(config, model, train), {}, devices)
    # If a device's steps diverge, its update has an infinite norm, which the strategy clips to zero.
    with seeded_generators(config.seed), np.errstate(over="ignore"):
        result = strategy.start(grid, to_double_arrays(model.shared_parameters()), num_rounds=config.rounds)
    if strategy.accountant is None or strategy.accountant.num_releases != config.rounds:
        raise RuntimeError("Flower's strategy did not release every round")
    return {name: tensor.float() for name, tensor in from_arrays(result.arrays).items()}


def make_strategy(config: ResolvedConfig) -> DifferentialPrivacyServerSideFixedClipping:
    """Build the strategy with every node in every round and Flower's own accountant."""
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
    # The promise is computed from `flower_config`. With an accountant the strategy checks its assumptions.
    accountant = RdpAccountant(
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
    """Build the app of one device, which trains by local SGD and keeps its shopper's vector.

    The node's partition number identifies the device.
    """
    app = ClientApp()
    local = {"unit": "none", "noise_multiplier": 0.0, "clip": np.inf, "secure_aggregation": False}
    steps = {"learning_rate": LEARNING_RATE, "steps_per_round": STEPS, "sampling_rate": 1.0}
    trainer = SgdTrainer(model, config.model_copy(update={**local, **steps}).settings)
    key = new_key() if config.seed is None else seeded_key(config.seed)

    @app.train()
    def train_device(message: Message, context: Context) -> Message:
        device = int(context.node_config["partition-id"])
        sent = from_arrays(message.content.array_records[ARRAYS])
        query = message.content.config_records["config"]
        round = int(str(query["server-round"]))
        vector = torch.zeros(1, model.dim)
        if VECTOR in context.state:
            vector = from_arrays(context.state.array_records[VECTOR])[VECTOR]
        own = Cohort(np.array([device]), train.span(device, device + 1), vector, key, round)
        update, vector = trainer.train(own, {name: tensor.float() for name, tensor in sent.items()})
        context.state[VECTOR] = to_arrays({VECTOR: vector})
        trained = parameters_to_send(sent, update, config.clip)
        reply = RecordDict({ARRAYS: to_double_arrays(trained), METRICS: MetricRecord({EXAMPLES: 1})})
        return Message(reply, reply_to=message)

    return app


def to_double_arrays(parameters: Parameters) -> ArrayRecord:
    """Convert parameters to double precision, in which Flower averages, noises and sends them."""
    return ArrayRecord({name: Array(tensor.double().numpy()) for name, tensor in parameters.items()})


def parameters_to_send(sent: Parameters, update: Parameters, clip: float) -> Parameters:
    """Return the parameters that a device sends back, which are finite and never equal to `sent`.

    Equal parameters would make the strategy divide by zero.
    """
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
def seeded_generators(seed: int | None) -> Iterator[None]:
    """Seed the global generators of Python and NumPy, from which Flower draws, and restore them afterwards.

    seed: the run's; None seeds from the operating system.
    """
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(None if seed is None else seed % 2**32)  # noqa: NPY002
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
