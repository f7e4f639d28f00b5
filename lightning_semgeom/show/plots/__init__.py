"""Pictures of a run and of its sites, for notebooks, loggers and files.

Figures are made without pyplot: nothing global changes and nothing stays open.
"""

from lightning_semgeom.show.plots.grams import draw_gram, gram_row
from lightning_semgeom.show.plots.maps import draw_map
from lightning_semgeom.show.plots.metrics import draw_values
from lightning_semgeom.show.plots.shared import draw_shared
from lightning_semgeom.show.plots.style import pixels
from lightning_semgeom.show.plots.timeline import timeline

__all__ = [
    "draw_gram",
    "draw_map",
    "draw_shared",
    "draw_values",
    "gram_row",
    "pixels",
    "timeline",
]
