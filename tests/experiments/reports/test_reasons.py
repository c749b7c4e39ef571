"""An explanation is a sentence whose numbers add up to the score."""

import re

import pytest

from terrycloth.experiments.reports.reasons import NETWORK, because, clause, spoken


@pytest.mark.parametrize(
    ("reasons", "score", "sentence"),
    [
        ({"liked by everyone": 0.5}, 0.5, "Because many shoppers like it (+0.50)."),
        (
            {"colour=blue": 0.5, "liked by everyone": -0.25},
            0.25,
            "Because you like blue (+0.50), although few shoppers like it (-0.25).",
        ),
        ({"colour=blue": -0.5}, -0.5, "Although you seldom choose blue (-0.50)."),
        (
            {"you have a towel": 0.03, "you like size=bath": 0.02, "you like composition=linen": -0.01},
            0.04,
            "Because you have a towel (+0.0300) and you like bath (+0.0200), although you seldom "
            "choose linen (-0.0100).",
        ),
        # Parts with the same words are one: a colour is also a word of the title.
        (
            {"you like colour=white": 0.25, "you like title=white": 0.25},
            0.5,
            "Because you like white (+0.50).",
        ),
        # The fifth part and the parts that are printed as 0 are summed as the rest.
        (
            {"a=va": 0.5, "a=vb": 0.4, "a=vc": 0.3, "a=vd": 0.2, "a=ve": 0.1},
            1.5,
            "Because you like va (+0.50), you like vb (+0.40), you like vc (+0.30) and you like vd (+0.20); "
            "all else adds +0.10.",
        ),
        ({"a=va": 0.5, "a=vb": 0.001}, 0.501, "Because you like va (+0.50)."),
        ({"you have no items yet": 0.0}, 0.0, "Because you have no items yet (+0.0000)."),
        ({"item t5": 0.5}, 0.5, "Because shoppers like you choose it (+0.50)."),
        ({}, 0.5, NETWORK),
    ],
)
def test_an_explanation_as_a_sentence(reasons: dict[str, float], score: float, sentence: str) -> None:
    assert because(reasons, score) == sentence


def test_the_printed_numbers_add_up_to_the_printed_score() -> None:
    """Each of three parts rounds up, to 0.03 more than their sum."""
    sentence = because({"a=va": 0.336, "a=vb": 0.336, "a=vc": 0.336}, 1.008)
    assert sum(map(float, re.findall(r"[+-]\d\.\d+", sentence))) == pytest.approx(1.01)
    assert sentence.endswith("all else adds -0.01.")


def test_a_function_word_of_a_title_is_no_reason() -> None:
    """“You like and” tells nobody anything. Its part is in the rest, so that the numbers still add up."""
    reasons = {"you like word=and": 0.3, "you like word=cakestand": 0.2}
    assert because(reasons, 0.5) == "Because you like cakestand (+0.20); all else adds +0.30."
    assert because({"you like word=and": 0.3}, 0.3) == "Because you like and (+0.30)."


def test_the_sentence_claims_no_likes_of_a_shopper_without_purchases() -> None:
    reasons = {"liked by everyone": 0.5, "colour=blue": 0.25}
    assert because(reasons, 0.75, known=False) == (
        "Because many shoppers like it (+0.50); all else adds +0.25."
    )


def test_a_reason_against_an_item_has_other_words() -> None:
    for name in ("liked by everyone", "popular with everyone of late", "unknown", "colour=blue", "t5"):
        assert clause(name, 1.0) != clause(name, -1.0)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [("colour=blue", "blue"), ("unknown", "unknown"), ("price=5–9", "price 5–9"), ("size=30x50", "30x50")],
)
def test_an_attribute_value_is_printed_in_plain_words(reason: str, sentence: str) -> None:
    assert spoken(reason) == sentence
