"""From a run's configuration to what the server and the devices are told, and to the promise."""

import hashlib
import json
import math
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from terrycloth.client.policy import Policy
from terrycloth.client.serving import Serving
from terrycloth.experiments.settings.config import (
    MEASURED_ONLY,
    EvaluateEvery,
    HeadScale,
    RunConfig,
    Split,
    refuse_promise_without_unit,
)
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.experiments.settings.step_size import device_step, server_steps
from terrycloth.models import shared_settings as shared
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.limits import MOST_ITEMS
from terrycloth.models.privacy.accounting import epsilon_composed, noise_for, rounds_for
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.privacy.trust import trusts_of
from terrycloth.models.recommenders import plug_ins
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.head import head_size
from terrycloth.models.recommenders.kinds import KINDS, Solver, kind_of
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.secure_aggregation.thresholds import least_listed, tolerated_of
from terrycloth.models.settings import (
    RoundSettings,
    rounds_covered,
)
from terrycloth.models.update import expected_update
from terrycloth.server.settings import ServerSettings

LEAST_NODES = 3  # between two, each would know the other's part of the sum

DEFAULTS = Path(__file__).with_name("defaults")
LIKE_PLUG_INS = "neural-cf"  # the model whose defaults other packages' models have


class ResolvedConfig(RunConfig):
    """A configuration with nothing left open: what config.toml holds."""

    split: Split[SplitName]
    devices: shared.Devices[int]
    dim: shared.Dim[int]
    head_size: shared.HeadSize[int]
    head_scale: HeadScale[float]
    popularity_share: shared.PopularityShare[float]
    popularity_half_life: shared.PopularityHalfLife[float]
    popularity_norm: shared.PopularityNorm[float]
    kernel_half_life: shared.KernelHalfLife[float]
    attribute_weight: shared.AttributeWeight[float]
    noised_attribute_weight: shared.NoisedAttributeWeight[float]
    popularity_discount: shared.PopularityDiscount[float]
    title_words: shared.TitleWords[bool]
    now: shared.Now[int]
    recency_half_life: shared.RecencyHalfLife[float]
    most_events: shared.MostEvents[int]
    clip: shared.Clip[float]
    noise_multiplier: shared.NoiseMultiplier[float]
    rounds: shared.Rounds[int]
    sampling_rate: shared.SamplingRate[float]
    steps_per_round: shared.StepsPerRound[int]
    secure_aggregation: shared.SecureAggregation[bool]
    learning_rate: shared.LearningRate[float]
    negative_weight: shared.NegativeWeight[float]
    catalogue_weight: shared.CatalogueWeight[float]
    regularisation: shared.Regularisation[float]
    server_optimizer: shared.ServerOptimizer[shared.OptimizerName]
    server_learning_rate: shared.ServerLearningRate[float]
    server_momentum: shared.ServerMomentum[float]
    server_weight_decay: shared.ServerWeightDecay[float]
    evaluate_every: EvaluateEvery[int]

    @property
    def settings(self) -> RoundSettings:
        """What devices are asked, but for the ε that they may spend: that is found from the rest."""
        private = self.unit != "none"
        # What is called protocol there is the version of the messages; of ours no device hears.
        common = RoundSettings.model_fields.keys() & ResolvedConfig.model_fields.keys() - {"protocol"}
        values = {name: getattr(self, name) for name in common}
        return RoundSettings.model_validate(
            values
            | {
                "round": 1,
                "model": plug_ins.wire_name(self.model),
                "trust": self.trust if private else "none",
                "epsilon": math.inf,
                "delta": (self.delta or 0.0) if private else 0.0,
                "least_devices": max(1, self.sure_devices)
                if private and self.trust_model.secure_aggregation
                else 1,
                "evaluate": self.evaluate == "released",
                "evaluation_noise": self.evaluation_noise if private and self.evaluate == "released" else 0.0,
            }
        )

    @property
    def last_round(self) -> int:
        """Number of the last round, the measuring one included."""
        return self.rounds + (self.evaluate == "released")

    @property
    def sure_devices(self) -> int:
        """Devices whose shares of the noise are in a sum, whichever are lost and whichever nodes collude.

        Those that come, less the part that may drop out, less all behind the tolerated number of nodes.
        Without masks no node hides anything from the server, so none is taken to collude.
        """
        come = self.coins(self.devices)[0]
        staying = math.ceil((1.0 - self.tolerated_dropout) * self.nodes)
        colluding = tolerated_of(staying, self.nodes, self.agreement)[1] if self.secure_aggregation else 0
        behind_one = self.coins(math.ceil(self.devices / self.nodes))[1]
        return math.floor((1.0 - self.tolerated_dropout) * come - colluding * behind_one)

    @property
    def tolerated_nodes(self) -> int:
        """Nodes that may collude, whomever the server lists: half of the roster may be missing."""
        return tolerated_of(least_listed(self.nodes), self.nodes, self.agreement)[0]

    def coins(self, devices: int) -> tuple[float, float]:
        """Fewest and most of so many devices whose coins fall in a round, but for a chance below 1e-4."""
        expected = self.participation * devices
        reach = 4.0 * math.sqrt(expected * (1.0 - self.participation))  # four standard deviations
        return expected - reach, min(expected + reach, devices)

    def recommender(self, catalogue: Catalogue) -> Recommender:
        """The run's model over a catalogue."""
        return recommender_for(self.settings, catalogue)

    @property
    def serving(self) -> Serving:
        """How the shoppers of this run are served."""
        return Serving(
            self.catalogue_weight,
            self.negative_weight,
            self.regularisation,
            self.recency_half_life or None,
            self.most_events,
        )


def defaults(unit: str, model: str, data: str) -> dict[str, Any]:
    """defaults/all.toml for one unit and model, and over it what was tuned for a data set, where it was."""
    found: dict[str, Any] = {}
    for path in (DEFAULTS / "all.toml", DEFAULTS / f"{data}.toml"):
        tables = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name in ("all", unit, f"{unit}-{model if model in (*KINDS, *MEASURED_ONLY) else LIKE_PLUG_INS}"):
            found |= tables.get(name, {})
    return found


def in_use() -> str:
    """What a run's numbers depend on besides its settings: the version, and the defaults."""
    tables = {path.name: tomllib.loads(path.read_text(encoding="utf-8")) for path in DEFAULTS.glob("*.toml")}
    digest = hashlib.blake2b(json.dumps(tables, sort_keys=True).encode(), digest_size=4).hexdigest()
    return f"terrycloth {version('terrycloth')}, defaults {digest}"


def resolve(config: RunConfig, devices: int, items: int = MOST_ITEMS) -> ResolvedConfig:
    """Fill what was left open, and find the noise for ε over all rounds, or the rounds for both.

    devices, items: how many there are, which is public.

    δ is by default a tenth of one in `devices`, and 1e-5 at most. Raises UserError, also for a δ of one in
    `devices` or more: publishing one shopper's data whole would keep such a promise.
    """
    if config.model == "auto":
        raise UserError("--model auto is chosen where there is a catalogue: name a model here")
    try:
        plug_ins.wire_name(config.model)
    except ValueError as error:
        raise UserError(f"--model {error}") from None
    refuse_weak_promise(config, devices)
    refuse_torch_device(config)
    refuse_leak(config)
    if config.model in MEASURED_ONLY:
        refuse_devices(config)
    if config.nodes > devices:
        raise UserError(f"--nodes {config.nodes} is more than the {devices} devices: ask for fewer nodes")
    kind = kind_of(config.model)
    values = config.model_dump()
    filled = {**defaults(config.unit, config.model, config.data), "devices": devices, "now": 0}
    if config.unit == "none":
        filled |= {"clip": math.inf, "noise_multiplier": 0.0}
    else:
        for name in ("noise_multiplier", "clip"):
            value = getattr(config, name)
            if value is not None and value != 0 and not 1e-6 <= value <= 1e6:
                flag = "--" + name.replace("_", "-")
                raise UserError(f"{flag} {value:g} is not accepted by a device: say 1e-6 to 1e6")
        both = config.noise_multiplier is not None and config.epsilon is not None
        if both and (config.rounds is not None or kind.releases):
            raise UserError(
                "give two of --epsilon, --noise-multiplier and --rounds (--model linear has two rounds): "
                "the third is found from them"
            )
        if config.unit not in kind.units:
            raise UserError(
                f"--model {config.model} cannot be trained under --unit {config.unit}: use --unit "
                f"{kind.units[-1]}"
            )
        filled["delta"] = default_delta(units_of(config, devices))
    filled["secure_aggregation"] = config.trust_model.secure_aggregation and config.nodes >= LEAST_NODES
    if config.secure_aggregation and config.nodes < LEAST_NODES:
        raise UserError(
            f"secure aggregation hides a node among at least {LEAST_NODES}: say --nodes {LEAST_NODES} "
            "or more, or --no-secure-aggregation for a simulation without it"
        )
    if kind.releases:
        refuse_other_steps(config)
    least, most = int(bool(kind.releases)), min(items, MOST_ITEMS)
    if config.head_size is not None and not least <= config.head_size <= most:
        raise UserError(f"head_size = {config.head_size} is not from {least} to {most} items: leave it out")
    if config.model in MEASURED_ONLY:
        values["central"] = False  # they are no model that one place could train
    # The noise is found before the head that it allows.
    filled["head_size"] = most if kind.releases else 0
    filled["evaluate_every"] = measured_every(config.rounds or filled["rounds"])
    values |= {name: value for name, value in filled.items() if values[name] is None}
    # config.toml keeps noise and rounds, and a resumed run finds the same ε again.
    epsilon, noise = values.pop("epsilon"), values.pop("noise_multiplier")
    values["epsilon_asked"] = epsilon if noise is None else config.epsilon or config.epsilon_asked
    resolved = ResolvedConfig.model_validate({**values, "noise_multiplier": noise or 0.0})
    if config.unit != "none":
        refuse_sums_without_noise(resolved)
        resolved = with_noise(resolved, config, epsilon)
        if kind.solver is Solver.LEAST_SQUARES:
            resolved = with_steps(resolved, config)
    if kind.releases and config.head_size is None:
        resolved = with_head(resolved, items)
    return resolved


def refuse_sums_without_noise(resolved: ResolvedConfig) -> None:
    """Raise UserError where those that drop out and those that collude may be all there are."""
    if resolved.trust_model.secure_aggregation and resolved.secure_aggregation and resolved.sure_devices < 1:
        raise UserError(
            f"of {resolved.devices} devices behind --nodes {resolved.nodes} none is sure to be left when "
            f"some nodes collude and tolerated_dropout = {resolved.tolerated_dropout:g} of the devices is "
            "lost: lower it, or raise --devices or --participation"
        )


def refuse_torch_device(config: RunConfig) -> None:
    """UserError for a GPU where there is none, or where nothing would be trained on it."""
    if config.torch_device == "cpu":
        return
    if kind_of(config.model).solver is not Solver.GRADIENT or config.trainer != "fast":
        raise UserError("--device cuda is for --model neural-cf and --trainer fast: leave it out")
    if not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU on this machine; leave it out")


def refuse_leak(config: RunConfig) -> None:
    """UserError for the leaky protocol where a promise is made, or where devices draw the negatives."""
    if config.negative_sampling == "clean":
        return
    if config.unit != "none":
        raise UserError(
            "--negative-sampling leaky is a fault on purpose: whoever draws the negatives knows the held-out "
            "item, so no promise can be kept; say --unit none"
        )
    if config.model not in MEASURED_ONLY and kind_of(config.model).draws_negatives:
        raise UserError(
            f"--model {config.model} draws its negatives on the device, which cannot know the held-out item: "
            f"--negative-sampling leaky is for {', '.join(MEASURED_ONLY)}, and for models that draw none"
        )


def refuse_devices(config: RunConfig) -> None:
    """UserError for settings of a federation, where the simulator trains by itself."""
    if config.unit != "none":
        raise UserError(f"--model {config.model} is measured without a promise: say --unit none")
    for name in ("engine", "trainer", "nodes", "participation", "evaluate"):
        if getattr(config, name) != RunConfig.model_fields[name].default:
            raise UserError(
                f"--model {config.model} is trained by the simulator, all devices in every round: leave out "
                f"--{name}"
            )


def refuse_weak_promise(config: RunConfig, devices: int) -> None:
    """Raise UserError where so many devices cannot keep what is said, or where it would promise nothing."""
    refuse_promise_without_unit(config)
    if config.unit == "none":
        return
    if config.trust not in (kept_by := trusts_of(config.unit)):
        kept = " or ".join(kept_by)
        raise UserError(f"--unit {config.unit} is not kept under --trust {config.trust}: say {kept}")
    if config.trust_model.secure_aggregation and devices < LEAST_NODES:
        raise UserError(
            f"--trust distributed hides a device among at least {LEAST_NODES}: there are {devices}, so raise "
            "--devices, or say --trust local"
        )
    if math.inf in (config.epsilon, config.clip, config.noise_multiplier):
        raise UserError(f"--unit {config.unit} needs finite numbers: for no promise, say --unit none")
    if config.delta is not None and config.delta >= 1 / (units := units_of(config, devices)):
        whose = "shopper's data" if config.unit == "shopper" else "purchase"
        held = "" if config.unit == "shopper" else f" that store up to {units // devices} purchases each"
        raise UserError(
            f"--delta {config.delta:g} would allow one {whose} to be published whole: with "
            f"{devices} devices{held} say less than 1/{units}"
        )


def units_of(config: RunConfig, devices: int) -> int:
    """The most units that so many devices can hold, by public numbers: δ has to be below one in so many.

    At interaction level these are the events that all devices may store; how many they do store is private.
    """
    if config.unit != "interaction":
        return devices
    usual: int = defaults(config.unit, config.model, config.data)["most_events"]
    return devices * (config.most_events or usual)


def default_delta(units: int) -> float:
    """A tenth of one in so many units, and 1e-5 at most."""
    return min(1e-5, 0.1 / units)


def owner_policy(config: RunConfig, devices: int) -> Policy:
    """What the owner of devices allows who wants the promise that `config` names, or a stronger one.

    By any model, and in as many rounds as ε lasts. Raises UserError as `resolve` does.
    """
    refuse_weak_promise(config, devices)
    if config.unit == "none":
        return Policy.model_validate({"units": ["none"], "trusts": []})
    usual = defaults(config.unit, config.model, config.data)
    return Policy.model_validate(
        {
            "units": [config.unit],
            "trusts": [config.trust],
            "most_epsilon": config.epsilon or usual["epsilon"],
            "most_delta": config.delta or default_delta(units_of(config, devices)),
            "most_events": config.most_events or usual["most_events"],
        }
    )


def refuse_wide_sums(config: ResolvedConfig, catalogue: Catalogue) -> None:
    """Raise UserError where no integers hold the sums of a run of distributed trust."""
    settings, shared = config.settings, config.recommender(catalogue).shared_parameters()
    for round in {1, settings.rounds, settings.last_round}:
        expected_update(settings.at(round), shared)


def with_noise(resolved: ResolvedConfig, config: RunConfig, epsilon: float) -> ResolvedConfig:
    """The noise found for ε, or the rounds for both, where `config` leaves one of them open."""
    settings, noise = resolved.settings, config.noise_multiplier
    _, rate, steps = settings.mechanism
    # What a device measures at the end comes out of the same ε.
    besides = settings.measured(settings.last_round)
    if noise is None:
        factors = settings.noise_factors  # one a round, where the rounds differ
        noise = noise_for(
            epsilon,
            settings.delta,
            rate,
            settings.covered * steps // len(factors),
            factors=factors,
            besides=besides,
            only_renyi=settings.only_renyi,
        )
        return resolved.model_copy(update={"noise_multiplier": noise})
    if config.epsilon is not None:
        covered = rounds_for(
            config.epsilon,
            settings.delta,
            rate,
            noise,
            steps,
            besides=besides,
            only_renyi=settings.only_renyi,
        )
        rounds = rounds_covered(covered, resolved.trust, resolved.participation)
        every = measured_every(rounds) if config.evaluate_every is None else config.evaluate_every
        return resolved.model_copy(update={"rounds": rounds, "evaluate_every": every})
    return resolved


def with_steps(resolved: ResolvedConfig, config: RunConfig) -> ResolvedConfig:
    """The learning rates and the momentum that the noise allows, where `config` leaves them open."""
    noise, clip, steps = resolved.noise_multiplier, resolved.clip, resolved.steps_per_round
    if resolved.unit == "interaction":
        rate = resolved.learning_rate
        if config.learning_rate is None:
            rate = device_step(noise, clip, resolved.rounds * steps, rate)
            resolved = resolved.model_copy(update={"learning_rate": rate})
        expected = resolved.participation * resolved.devices
        deviation = rate * noise * clip * math.sqrt(steps / expected)
    else:
        deviation = resolved.settings.deviation_of(noise)
    if config.server_learning_rate is not None or resolved.server_optimizer != "sgd":
        return resolved
    rate, momentum = server_steps(
        resolved.unit, deviation, resolved.rounds, resolved.server_learning_rate, config.server_momentum
    )
    return resolved.model_copy(update={"server_learning_rate": rate, "server_momentum": momentum})


def with_head(resolved: ResolvedConfig, items: int) -> ResolvedConfig:
    """The head of the catalogue that the noise allows, all releases together taken for one."""
    settings = resolved.settings
    unprotected = resolved.unit == "none"
    deviation = 0.0 if unprotected else settings.deviation_of(resolved.noise_multiplier) / settings.clip
    return resolved.model_copy(update={"head_size": head_size(items, deviation, resolved.head_scale)})


def measured_every(rounds: int) -> int:
    """Some sixteen measurements make a curve, and cost little beside training."""
    return max(1, rounds // 16)


def refuse_other_steps(config: RunConfig) -> None:
    """The linear model reads its noise's edge off the mean itself: no other step than to the mean fits it."""
    if config.rounds not in (None, len(kind_of(config.model).releases)):
        raise UserError(f"--model {config.model} is done after two rounds: leave out --rounds")
    only = {
        "server_optimizer": "sgd",
        "server_learning_rate": 1.0,
        "server_momentum": 0.0,
        "server_weight_decay": 0.0,
        "clip": 1.0,
    }
    for name, value in only.items():
        if getattr(config, name) not in (None, value, math.inf):
            raise UserError(f"--model {config.model} has {name} = {value}: leave it out")


def make_promise(config: ResolvedConfig, *, catalogue_from_events: bool = False) -> Promise:
    """What a configuration promises. catalogue_from_events: as `Dataset` has it.

    ε is that of a device which takes part whenever it may. Under local and distributed trust the server sees
    who takes part, so `participation` amplifies nothing; under central trust it does, against those who see
    only the model.
    """
    if config.unit == "none":
        return no_promise(config)
    settings = config.settings
    _, rate, steps = settings.mechanism
    history = settings.history(settings.last_round)
    epsilon, accountant = epsilon_composed(history, settings.delta, only_renyi=settings.only_renyi)
    bounded = math.isfinite(epsilon)
    distributed = config.trust_model.secure_aggregation
    return Promise(
        unit=config.unit,
        trust=config.trust,
        epsilon=epsilon if bounded else None,
        delta=config.delta,
        noise_multiplier=config.noise_multiplier,
        clip=config.clip,
        participation=config.participation,
        rounds=config.rounds,
        steps_per_round=steps,
        sampling_rate=rate,
        accountant=accountant if bounded else None,
        seeded=config.seed is not None,
        rounds_of_a_device=settings.covered,
        least_devices=settings.least_devices if distributed else None,
        tolerated_nodes=config.tolerated_nodes if distributed and config.secure_aggregation else None,
        secure_aggregation_off=distributed and not config.secure_aggregation,
        evaluated=settings.evaluate,
        catalogue_from_events=catalogue_from_events,
        of_training_events=config.split != "date",
        most_events=config.most_events if config.unit == "interaction" else None,
        history=history,
        mechanism="discrete-gaussian" if settings.only_renyi else "gaussian",
    )


def no_promise(config: ResolvedConfig) -> Promise:
    """What is said where nothing is promised."""
    return Promise(
        unit="none",
        trust=None,
        epsilon=None,
        delta=None,
        noise_multiplier=0.0,
        clip=None,
        participation=config.participation,
        rounds=config.rounds,
        steps_per_round=config.steps_per_round,
        sampling_rate=config.sampling_rate,
        accountant=None,
        seeded=config.seed is not None,
        rounds_of_a_device=config.rounds,
    )


def asked_settings(config: ResolvedConfig, promise: Promise) -> RoundSettings:
    """What devices are asked in the first round, the ε included that all rounds together may spend."""
    epsilon = math.inf if promise.epsilon is None else promise.epsilon
    return config.settings.model_copy(update={"epsilon": epsilon})


def run_config(
    config: ResolvedConfig,
    promise: Promise,
    *,
    catalogue: Path,
    folder: Path,
    resume: bool,
    roster: Path | None = None,
) -> dict[str, Any]:
    """What Flower carries to the ServerApp: flat, with the field names of `server/settings.py`."""
    fields = ServerSettings.model_fields.keys() & ResolvedConfig.model_fields.keys()
    asked = asked_settings(config, promise).model_dump(exclude={"protocol", "run", "round"})
    return (
        asked
        | {name: getattr(config, name) for name in fields}
        | {
            "initial_seed": config.seed or 0,
            **({} if config.seed is None else {"noise_seed": config.seed}),
            "catalogue": str(catalogue),
            **({} if roster is None else {"roster": str(roster)}),
            "folder": str(folder),
            "resume": resume,
        }
    )
