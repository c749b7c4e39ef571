"""The colours of pages and pictures, in light and in dark, each told apart by the colour-blind.

Text in any of them has a contrast of at least 4.5 to the paper, except in those of `AREAS`.
"""

INK, PAPER, GREY, LINE, SHADE = "#1a1a1a", "#ffffff", "#595959", "#d5d5d5", "#eeeeee"
BLUE, ORANGE, GREEN, PURPLE, BROWN, TEAL = "#0068a8", "#b04600", "#00754f", "#9c3f78", "#7d5a00", "#006c7a"

# By its name in the stylesheet: in light, as in the pictures, and in dark.
COLOURS = {
    "ink": (INK, "#ececec"),
    "paper": (PAPER, "#15181c"),
    "grey": (GREY, "#b4b8be"),
    "line": (LINE, "#3b4047"),
    "shade": (SHADE, "#23272d"),
    "blue": (BLUE, "#62b6f0"),
    "orange": (ORANGE, "#ff9a52"),
    "green": (GREEN, "#3fca9b"),
    "purple": (PURPLE, "#e58fc2"),
    "brown": (BROWN, "#d9b04e"),
    "teal": (TEAL, "#4cc5d6"),
}
AREAS = {"paper", "line", "shade"}
SERIES = (BLUE, ORANGE, GREEN, PURPLE, BROWN, TEAL)  # of the lines with a promise, in this order


def variable(colour: str) -> str:
    """Return the name in the stylesheet of a colour of the pictures."""
    return next(name for name, (light, _) in COLOURS.items() if light == colour)
