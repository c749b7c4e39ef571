"""What follows from a trust model, and that no other file decides it by comparing the model's name."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import terrycloth.models.privacy.trust
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.privacy.trust import TRUST_MODELS, trusts_of

ROOT = Path(terrycloth.models.privacy.trust.__file__).resolve().parents[2]
NO_NOISE = {
    "epsilon": 8.0, "delta": 1e-5, "noise_multiplier": 1.0, "clip": 1.0, "participation": 1.0, "rounds": 1,
    "steps_per_round": 1, "sampling_rate": 1.0, "accountant": "analytic Gaussian", "seeded": False,
}  # fmt: skip


def test_each_unit_has_the_trust_models_that_can_protect_it():
    assert trusts_of("none") == ("none",)
    assert trusts_of("interaction") == ("local",)
    assert trusts_of("shopper") == ("local", "distributed", "central")


def test_what_follows_from_who_adds_the_noise():
    """Twelve devices are expected, and the noise shares of three make up the accounted noise."""
    facts = {
        name: (
            model.secure_aggregation,
            model.only_renyi,
            model.amplified_by_participation,
            None if name == "none" else model.noises_in_sum(12.0, 3),
        )
        for name, model in TRUST_MODELS.items()
    }
    assert facts == {
        "none": (False, False, False, None),
        "local": (False, False, False, 12.0),
        "distributed": (True, True, False, 4.0),
        "central": (False, False, True, 1.0),
    }


@pytest.mark.parametrize(
    ("unit", "trust"),
    [("interaction", "central"), ("interaction", "distributed"), ("interaction", None), ("shopper", None),
     ("none", "local"), ("none", "central")],
)  # fmt: skip
def test_a_promise_refuses_a_unit_that_its_trust_model_cannot_protect(unit, trust):
    with pytest.raises(ValidationError, match="is not kept under trust"):
        Promise(unit=unit, trust=trust, **NO_NOISE)


def test_each_promise_names_whom_it_is_against():
    sentences = {
        trust: Promise(unit="shopper", trust=trust, **NO_NOISE).sentence() for trust in trusts_of("shopper")
    }
    for trust, sentence in sentences.items():
        assert sentence.startswith(TRUST_MODELS[trust].observer)
    assert len(set(sentences.values())) == 3


def test_no_other_file_compares_the_name_of_a_trust_model():
    compared = re.compile(r"""\btrust\w*\)?\s*(==|!=|\bin\b|\bnot in\b)\s*\(?\s*["']""")
    rooms = ("client", "server", "models", "experiments")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py") if path.name != "trust.py"]
    assert len(files) > 100
    assert [path.name for path in files if compared.search(path.read_text(encoding="utf-8"))] == []
    assert compared.search('if settings.trust == "central":')
    assert compared.search("if trust in ('local',):")
