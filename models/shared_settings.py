"""The settings that several classes have, each with its description and its bounds.

`RunConfig` is what a user sets, `RoundSettings` is what travels to the devices, and `ServerSettings` is what
the server keeps. A setting takes its type in brackets, because it may be None only where a user leaves it
open: `Dim[int | None]` and `Dim[int]` have the same description and bounds.

Help texts need this file, so it imports nothing heavy.
"""

from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

from terrycloth.models.limits import LEAST_CLIP, MOST_EVENTS, MOST_ITEMS, MOST_ROUNDS, MOST_STEPS, OPTIMIZER

T = TypeVar("T")

OptimizerName = Annotated[str, StringConstraints(pattern=OPTIMIZER)]

# The data and the federation.
Catalogue = Annotated[
    T, Field(description="file of the catalogue, public: a table for --data csv, Parquet for a server")
]
Devices = Annotated[T, Field(ge=1, le=10**9, description="number of devices, public, each with one shopper")]
Nodes = Annotated[
    T,
    Field(
        ge=1,
        description="Flower nodes, all of which a server waits for; simulated ones share the devices equally",
    ),
]
MostEvents = Annotated[
    T,
    Field(
        ge=1,
        le=MOST_EVENTS,
        description="newest events that a device stores and trains on, at most; public: bounds what it sends",
    ),
]

# The model.
Dim = Annotated[
    T,
    Field(ge=1, le=4096, description="length of the vectors; linear: number of eigenvectors kept at most"),
]
OwnRows = Annotated[T, Field(description="attributes: each item also has a row of its own")]
ItemBias = Annotated[T, Field(description="each item has a bias, its general popularity")]
HeadSize = Annotated[
    T,
    Field(
        ge=0,
        le=MOST_ITEMS,
        description="linear: size of the head, the most popular items by the first release, whose Gram "
        "matrix is learned",
    ),
]
PopularityShare = Annotated[
    T,
    Field(ge=0.01, le=0.99, description="linear: share of 1 / noise_multiplier² for the first release"),
]
KernelHalfLife = Annotated[
    T,
    Field(
        ge=0,
        le=1e6,
        description="linear: visits between two purchases at which the pair counts half; 0: no decay",
    ),
]
PopularityHalfLife = Annotated[
    T,
    Field(
        ge=0,
        le=1e6,
        description="linear: days after which a purchase counts half in the first release; 0: no decay",
    ),
]
PopularityNorm = Annotated[
    T,
    Field(
        ge=0,
        le=1e3,
        description="linear: clipping norm of a device's row in the first release; 0: all rows get norm 1",
    ),
]
AttributeWeight = Annotated[
    T, Field(ge=0, le=1e3, description="linear: weight of the attributes without noise")
]
NoisedAttributeWeight = Annotated[
    T, Field(ge=0, le=1e3, description="linear: weight of the attributes under the strongest noise")
]
PopularityDiscount = Annotated[
    T,
    Field(
        ge=0,
        le=2,
        description="linear: power of an item's popularity by which its learned scores are divided",
    ),
]
TitleWords = Annotated[
    T, Field(description="linear: count words that occur in at least two titles as attributes")
]
Now = Annotated[
    T,
    Field(ge=0, le=2**40, description="public instant from which ages are counted, in seconds since 1970"),
]

# The promise. Without one, a query has trust none, δ 0 and evaluation noise 0, which a user cannot set.
Unit = Annotated[
    T, Field(description="unit of the promise: none, interaction, or shopper (all data of one shopper)")
]
Trust = Annotated[
    T,
    Field(
        description="trust model, who adds the noise: local (each device, in full), distributed (each device "
        "a share; the server sees only sums), or central (the server)"
    ),
]
Epsilon = Annotated[T, Field(gt=0, description="privacy budget ε of the whole run, which sets the noise")]
Delta = Annotated[T, Field(lt=1, description="δ of the promise")]
NoiseMultiplier = Annotated[
    T,
    Field(ge=0, description="standard deviation of the noise over the clipping norm, from which ε follows"),
]
Clip = Annotated[
    T,
    Field(
        ge=LEAST_CLIP,
        description="clipping norm of an interaction's gradient, or of a shopper's update",
    ),
]
ClipQuantile = Annotated[
    T,
    Field(ge=0, lt=1, description="adapt the clipping norm to this quantile of update norms; 0: fixed"),
]
ClipLearningRate = Annotated[
    T, Field(gt=0, le=10, description="learning rate of the adaptive clipping norm, on a log scale")
]
Agreement = Annotated[
    T,
    Field(
        ge=0.5,
        lt=1,
        description="distributed: more than this share of the nodes must confirm a sum",
    ),
]
SecureAggregation = Annotated[
    T, Field(description="distributed: use secure aggregation, which hides all but the sum")
]
EvaluationNoise = Annotated[T, Field(le=1e6, description="noise multiplier of the release of accuracy")]

# Training.
Rounds = Annotated[
    T,
    Field(ge=1, le=MOST_ROUNDS, description="rounds of federated averaging, all under the promise"),
]
Participation = Annotated[
    T,
    Field(gt=0, le=1, description="probability that a device takes part in a round, by its own draw"),
]
SamplingRate = Annotated[
    T,
    Field(gt=0, le=1, description="probability that an interaction is in a step, by the device's own draw"),
]
StepsPerRound = Annotated[T, Field(ge=1, le=MOST_STEPS, description="steps of a device per round")]
# Rates have a lower bound too, because noise scaled by them must not vanish in floating point.
LearningRate = Annotated[T, Field(ge=1e-9, le=1e6, description="learning rate of the devices' steps")]
Negatives = Annotated[
    T,
    Field(ge=1, le=10_000, description="negatives drawn per interaction, from the whole catalogue"),
]
NegativeWeight = Annotated[
    T, Field(ge=0, le=1e6, description="weight of an interaction's negatives together")
]
CatalogueWeight = Annotated[
    T,
    Field(
        ge=0,
        le=1e6,
        description="least squares: weight of the pull of all items' scores towards 0",
    ),
]
Regularisation = Annotated[
    T,
    Field(gt=0, le=1e6, description="L2 penalty on a shopper's vector; linear: ridge, in mean eigenvalues"),
]
RecencyHalfLife = Annotated[
    T,
    Field(ge=0, le=1e6, description="half-life of an event when serving, in later visits; 0: no decay"),
]

# The server's optimiser.
ServerOptimizer = Annotated[
    T, Field(description="optimiser of the server: adam, sgd, or package.module:Class")
]
ServerLearningRate = Annotated[
    T, Field(ge=1e-9, le=1e6, description="learning rate of the server's optimiser")
]
ServerMomentum = Annotated[
    T, Field(ge=0, lt=1, description="momentum of the server's sgd, or adam's first beta")
]
ServerWeightDecay = Annotated[
    T, Field(ge=0, le=1e6, description="L2 penalty on the shared parameters, per device")
]
