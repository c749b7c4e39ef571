"""Why an item is recommended, as a sentence whose numbers add up to the item's score."""

REASONS_SHOWN = 4
NETWORK = "The model is a network: its score has no exact parts."
LIKED = "you like "
# Words of titles that tell people nothing: their parts are in the rest. English and German.
FUNCTION_WORDS = {
    "a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with",
    "das", "dem", "den", "der", "die", "ein", "eine", "für", "im", "mit", "und", "von", "zu",
}  # fmt: skip
PLAIN = {
    "liked by everyone": ("many shoppers like it", "few shoppers like it"),
    "popular with everyone of late": ("many shoppers bought it of late", "few shoppers bought it of late"),
    "unknown": ("items of which nothing is known suit you", "nothing is known of it"),
}


def because(reasons: dict[str, float], score: float, *, known: bool = True) -> str:
    """Return a sentence that says what speaks for an item, and what against it.

    reasons: parts of the score by name. Parts that are said alike are added up; those beyond REASONS_SHOWN
    are the rest. The numbers in print add up to the score in print. known: whether the shopper has bought
    anything; if not, nothing is said of what they like.
    """
    if not reasons:
        return NETWORK
    digits = digits_of(score)
    parts: dict[str, float] = {}
    for name, part in reasons.items():
        if not known and name not in PLAIN and len(reasons) > 1:
            continue
        if name.removeprefix(LIKED).removeprefix("word=") in FUNCTION_WORDS and len(reasons) > 1:
            continue
        said = clause(name, part)
        parts[said] = parts.get(said, 0.0) + part
    largest = sorted(parts.items(), key=lambda each: -abs(each[1]))[:REASONS_SHOWN]
    # A part that is 0 in print is said only if it is all there is to say.
    shown = {said: round(part, digits) for said, part in largest if round(part, digits)} or dict(largest[:1])
    rest = round(round(score, digits) - sum(shown.values()), digits)
    speaking_for = [f"{said} ({part:+.{digits}f})" for said, part in shown.items() if part >= 0]
    against = [f"{said} ({part:+.{digits}f})" for said, part in shown.items() if part < 0]
    text = f"Because {joined(speaking_for)}" if speaking_for else ""
    if against:
        text += f", although {joined(against)}" if text else f"Although {joined(against)}"
    return text + (f"; all else adds {rest:+.{digits}f}." if rest else ".")


def digits_of(score: float) -> int:
    """Return how many decimals show a score and its parts; scores of the linear model are small."""
    return 2 if abs(score) >= 0.1 else 4


def clause(name: str, part: float) -> str:
    """Return a reason as a clause; what it says depends on whether it speaks for the item."""
    speaks_for = part >= 0
    if name in PLAIN:
        return PLAIN[name][not speaks_for]
    if name.startswith("you have "):
        return name if speaks_for else f"{name}, which goes with other items"
    attribute = name.removeprefix(LIKED)
    if "=" in attribute:
        return f"you {'like' if speaks_for else 'seldom choose'} {spoken(attribute)}"
    if name.startswith("you "):
        return name
    return "shoppers like you choose it" if speaks_for else "shoppers like you seldom choose it"


def spoken(reason: str) -> str:
    """Return a reason in words: `colour=blue` becomes blue, but a number keeps its attribute: price 5–9."""
    attribute, equals, value = reason.partition("=")
    if not equals:
        return reason
    return value if any(letter.isalpha() for letter in value) else f"{attribute} {value}"


def joined(clauses: list[str]) -> str:
    """Return clauses as one: `a, b and c`."""
    *first, last = clauses
    return f"{', '.join(first)} and {last}" if first else last
