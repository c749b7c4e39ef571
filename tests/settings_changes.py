"""Settings of a round, and another valid value for each of them."""

from typing import Any

from terrycloth.models.settings import RoundSettings

BASE = RoundSettings.model_validate(
    {
        "run": "first", "round": 1, "rounds": 10, "model": "mf", "dim": 3, "own_rows": False,
        "item_bias": True, "unit": "shopper", "trust": "local", "epsilon": 50.0, "delta": 1e-5,
        "noise_multiplier": 1.0,
        "clip": 1.0, "devices": 10, "participation": 1.0, "sampling_rate": 1.0, "steps_per_round": 1,
        "learning_rate": 0.5, "negatives": 3, "negative_weight": 1.0, "catalogue_weight": 0.1,
        "regularisation": 0.5,
    }
)  # fmt: skip

CHANGES: dict[str, Any] = {
    "protocol": 2, "run": "second", "round": 2, "rounds": 11, "model": "attributes", "dim": 4,
    "own_rows": True, "item_bias": False, "unit": "interaction", "trust": "central", "epsilon": 51.0,
    "delta": 2e-5,
    "noise_multiplier": 1.1, "clip": 1.5, "clip_quantile": 0.5, "devices": 11, "least_devices": 2,
    "agreement": 0.7, "secure_aggregation": False, "evaluate": True, "evaluation_noise": 1.0, "head_size": 3,
    "popularity_share": 0.3, "now": 1, "popularity_half_life": 1.0, "popularity_norm": 1.0,
    "kernel_half_life": 1.0, "attribute_weight": 0.02, "noised_attribute_weight": 0.2,
    "popularity_discount": 0.5, "title_words": True, "participation": 0.9, "sampling_rate": 0.5,
    "steps_per_round": 2, "learning_rate": 0.6, "negatives": 4, "negative_weight": 1.1,
    "catalogue_weight": 0.2, "regularisation": 0.6, "recency_half_life": 1.0,
}  # fmt: skip
