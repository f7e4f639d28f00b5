"""What the demo says before it works and after it has: known before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

STEPS = {"stdlib": 1200, "factored": 2000, "latent": 2000, "pictures": 2000}
"""Optimizer steps of each setting, where nobody asks for others."""

# Shortest and longest run of so many steps on 2 cores, as measured; it grows with the steps.
_SECONDS = {"stdlib": (80, 140), "factored": (20, 60), "latent": (20, 60), "pictures": (20, 60)}
_LONG = 180  # seconds; longer is told in minutes

_LEARNT = {
    "stdlib": "A small GPT learns Python from the source of the standard library",
    "factored": "A small transformer learns to name 64 contexts that spell out their attributes",
    "latent": "A small transformer learns to name 64 contexts that hint at their attributes",
    "pictures": "A small network learns to name 64 kinds of pictures",
}


def before(setting: str, steps: int, text: str | None, out: Path) -> str:
    """What the demo will do, how long that takes, and where it goes."""
    learnt = f"A small GPT learns the text of '{text}'" if text else _LEARNT[setting]
    return f"""\
{learnt}.
Its {steps} steps take {_how_long(setting, steps)}.
Meanwhile SemanticGeometry measures whether what shares an attribute comes to
point the same way, and does so again with shuffled attributes: the control,
which tells what chance gives. Table, pictures and a page go to '{out}'.
"""


def after(folder: Path) -> str:
    """What to look at first, and what is to be seen there."""
    return f"""\
Open in a browser: {folder / "report.html"}
  Begin here: the page says what each picture shows.
timeline.png: a coloured curve is the gap of one attribute: how much more alike
  rows that share its value are than rows that do not. The star is its peak,
  where the gap was largest; a triangle that points up is where it emerged, one
  that points down where it was gone. The grey curves are the control: shuffled
  attributes mean nothing, so they stay near 0. A curve that rises far above
  them is no chance.
gram_*.png: the cosine of each pair of rows at the start, at the peak and at the
  end. Red squares on the diagonal are groups that point the same way."""


def _how_long(setting: str, steps: int) -> str:
    shortest, longest = (seconds * steps / STEPS[setting] for seconds in _SECONDS[setting])
    unit, divisor, grain = ("minutes", 60, 1) if longest > _LONG else ("seconds", 1, 10)
    # Some seconds go into imports and pictures, whatever the steps.
    low, high = (max(grain, grain * round(s / divisor / grain)) for s in (shortest, longest))
    return f"about {low if low == high else f'{low} to {high}'} {unit} on 2 cores"
