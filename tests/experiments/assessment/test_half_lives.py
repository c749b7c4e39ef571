"""Half-lives are searched one after the other, by the figure that `reach` returns."""

from terrycloth.experiments.assessment.half_lives import HALF_LIVES, with_half_lives
from terrycloth.experiments.settings.config import RunConfig

NAMES = tuple(HALF_LIVES)


def chosen(config: RunConfig) -> tuple[float | None, ...]:
    """Return the half-lives of some settings."""
    return tuple(getattr(config, name) for name in NAMES)


def test_each_half_life_is_the_best_given_the_earlier_ones() -> None:
    best = (7.0, 20.0, 0.0)

    def reach(config: RunConfig) -> float:
        return float(sum(one == other for one, other in zip(chosen(config), best, strict=True)))

    assert chosen(with_half_lives(RunConfig(), reach)) == best


def test_a_half_life_that_does_not_help_is_not_set() -> None:
    asked: list[RunConfig] = []

    def reach(config: RunConfig) -> float:
        asked.append(config)
        return 1.0

    assert chosen(with_half_lives(RunConfig(), reach)) == (None, None, None)
    assert len(asked) == 1 + sum(map(len, HALF_LIVES.values()))
