"""What counts as close to the best figure, wherever a promise is chosen by its accuracy."""

NEAR = 0.95  # the share of the best figure


def is_near(figure: float, best: float) -> bool:
    """Whether a figure is within 5% of the best one."""
    return figure >= NEAR * best
