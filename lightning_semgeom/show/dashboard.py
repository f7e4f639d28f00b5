"""The pictures of one record: which sites are shown, at which step, and how."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.show.loggers import Drawn, Pictures, prepare, takes_pictures
from lightning_semgeom.show.plots.grams import draw_gram
from lightning_semgeom.show.plots.maps import draw_map
from lightning_semgeom.show.plots.shared import draw_shared
from lightning_semgeom.show.plots.style import pixels
from lightning_semgeom.show.plots.timeline import timeline

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Dashboard:
    """Draws for the loggers of one run.

    Args:
        recorder: what there is to see.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._draws = False

    def open(self, loggers: Iterable[Logger]) -> None:
        """Begin a run with `loggers`."""
        loggers = [*loggers]
        self._draws = takes_pictures(loggers) and find_spec("matplotlib") is not None
        if self._draws:
            import matplotlib.figure  # noqa: F401  (takes half a second, better now than later)
        elif takes_pictures(loggers):
            rank_zero_info(
                "SemanticGeometry: loggers get no pictures, since matplotlib is not installed: "
                "pip install 'lightning-semgeom[plots]'."
            )
        for logger in loggers:
            prepare(logger, self._recorder.name)

    def pictures(self, is_due: bool, is_last: bool) -> Pictures:
        """What the finished record shows.

        Args:
            is_due: whether the pictures of its sites are shown, not only a confirmed peak's.
            is_last: whether the run ends with it.
        """
        recorder = self._recorder
        if not self._draws:
            return {}
        step = recorder.history.records[-1].step
        shown = {site: (step, picture) for site, picture in recorder.pictures.items() if is_due}
        if not is_last:
            # What a peak looked like is known when it is over: it is shown then.
            shown |= {
                site: (peak, recorder.history.picture(site, peak))
                for site, peak in recorder.new_peaks.items()
                if peak in recorder.history.picture_steps(site)
            }
        drawn: dict[str, Drawn] = {}
        for site, (of_step, picture) in shown.items():
            caption = f"{site}, step {of_step}{'' if of_step == step else ': the peak'}"
            for kind, draw in (("gram", draw_gram), ("shared", draw_shared), ("map", draw_map)):
                figure, _ = draw(picture, caption)
                drawn[f"{recorder.name}_{kind}/{site}"] = Drawn(pixels(figure), caption)
        if is_last or recorder.new_peaks:
            figure, _ = timeline(recorder.history)
            drawn[f"{recorder.name}/timeline"] = Drawn(pixels(figure), f"up to step {step}")
        return drawn

    def collapse_message(self) -> str:
        """Which attributes are gone since the last record, in words; empty where none is."""
        history = self._recorder.history
        lines = []
        for site, attribute in self._recorder.new_collapses:
            peak = self._recorder.phases[site, attribute].peak_step
            _, gaps = history.curve(history.key(site, f"gap/{attribute}"))
            lines.append(
                f"{attribute} has collapsed in {site}: it peaked at step {peak}, and its gap is "
                f"{gaps[-1]:.3f} at step {history.records[-1].step}."
            )
        return "\n".join(lines)
