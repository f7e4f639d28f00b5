"""The pictures of one record: which sites are shown, at which step, and by which process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_info
from tqdm.auto import tqdm

from lightning_semgeom.faults import AwayError
from lightning_semgeom.record.beside import Beside
from lightning_semgeom.record.record import Milestones
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.show.drawing import DrawingProcess, Ready, Sender
from lightning_semgeom.show.loggers import alert, prepare, sender_beside, takes_pictures
from lightning_semgeom.show.sheets import Sheet, Shown
from lightning_semgeom.stores import is_in_store

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Dashboard:
    """Has pictures drawn for the loggers of one run.

    Args:
        recorder: what there is to see.
        max_sites: most sites that are drawn.
        say: tells the user something.
        beside: asks the store that the history is in.
    """

    def __init__(
        self, recorder: Recorder, max_sites: int, say: Callable[[str], None], beside: Beside
    ) -> None:
        self._recorder = recorder
        self._max_sites = max_sites
        self._say = say
        self._beside = beside
        self._draws = False
        self._has_given_up = False
        self._senders: list[tuple[str, Sender]] = []
        self._process: DrawingProcess | None = None

    def open(self, loggers: Iterable[Logger]) -> None:
        """Begin a run with `loggers`."""
        loggers = [*loggers]
        self._draws = takes_pictures(loggers) and find_spec("matplotlib") is not None
        if takes_pictures(loggers) and not self._draws:
            rank_zero_info(
                "SemanticGeometry: loggers get no pictures, since matplotlib is not installed: "
                "pip install 'lightning-semgeom[plots]'."
            )
        self._senders = []
        for logger in loggers:
            prepare(logger, self._recorder.name)
            sender = sender_beside(logger) if self._draws else None
            if sender is not None:
                self._senders.append((type(logger).__name__, sender))

    def order(self, is_due: bool, is_last: bool) -> None:
        """Have drawn what the finished record shows.

        Args:
            is_due: whether the pictures of its sites are shown, not only a confirmed peak's.
            is_last: whether the run ends with it.

        Raises:
            OSError: if the drawing process cannot be started.
        """
        sheet = self._sheet(is_due, is_last) if self._draws else None
        if not sheet:
            return
        if self._process is None:
            self._draws = False  # where it cannot be started it is tried once
            self._process = DrawingProcess(self._senders)
            self._draws = True
        given_up = self._process.order(sheet)
        if given_up is not None and not self._has_given_up:
            self._has_given_up = True
            self._say(
                f"pictures come faster than they are drawn: those of step {given_up.step}, and of "
                "some later steps perhaps, do not go to the loggers. `lightning-semgeom report` "
                "draws them from the run's folder."
            )

    def ready(self) -> Ready | Exception | None:
        """A picture that is drawn and was not asked for, or what was wrong with one."""
        process = self._process
        return process.take() if process is not None and process.has_ready else None

    def rest(self) -> Iterator[Ready | Exception]:
        """All that is still due, as it is drawn; the drawing process ends."""
        if self._process is None:
            return
        number = self._process.number_due
        with tqdm(total=number, desc="semgeom pictures", delay=2, leave=False, disable=None) as bar:
            while (found := self._process.take()) is not None:
                yield found
                bar.update()
        self.close()

    def close(self) -> None:
        """End the drawing process now."""
        process, self._process, self._draws = self._process, None, False
        if process is not None:
            process.close()

    def _sheet(self, is_due: bool, is_last: bool) -> Sheet:
        recorder = self._recorder
        last = recorder.history.records[-1]
        sites = spread(recorder.sites, self._max_sites)
        pictures = recorder.pictures if is_due else {}
        shown = {s: Shown(f"{s}, step {last.step}", pictures[s]) for s in sites if s in pictures}
        if not is_last:
            # What a peak looked like is known when it is over: it is shown then.
            shown |= {s: peak for s in sites if (peak := self._peak(s)) is not None}
        if not is_last and not recorder.new_peaks:
            return Sheet(recorder.name, last.step, shown)
        return Sheet(
            recorder.name, last.step, shown, recorder.history.records, self._timeline_keys()
        )

    def _peak(self, site: str) -> Shown | None:
        """The peak of a site, where it has just been confirmed and was kept."""
        history, step = self._recorder.history, self._recorder.new_peaks.get(site)
        folder = history.folder
        files = [r.pictures[site] for r in history if r.step == step and site in r.pictures]
        if folder is None or step is None or not files:
            return None
        file, title = folder / files[0], f"{site}, step {step}: the peak"
        if not is_in_store(file):
            return Shown(title, file)
        # A process of its own may not reach the store: `memory://` is in this one.
        try:
            return Shown(title, self._beside.do(file, partial(history.picture, site, step)))
        except AwayError:  # which is told where the record is written
            return None

    def _timeline_keys(self) -> tuple[str, ...]:
        history = self._recorder.history
        keys = history.keys[:1]  # it tells the root of all others
        metrics = ("gap", *(milestone.name for milestone in fields(Milestones)))
        for site in spread(history.sites, self._max_sites):
            keys.append(history.key(site, "asymmetry"))
            for attribute in history.attributes(site):
                keys += [history.key(site, f"{metric}/{attribute}") for metric in metrics]
        return tuple(keys)

    def alert(self, loggers: Iterable[Logger]) -> None:
        """Tell people which attributes are gone since the last record, where any is."""
        if self._recorder.new_collapses:
            alert(loggers, f"{self._recorder.name}: structure is gone", self._collapses())

    def _collapses(self) -> str:
        history = self._recorder.history
        lines = []
        for site, attribute in self._recorder.new_collapses:
            peak = self._recorder.phases[site, attribute].peak_step
            _, gaps = history.curve(history.key(site, f"gap/{attribute}"))
            lines.append(
                f"{attribute} is gone in {site}: it peaked at step {peak}, and its gap is "
                f"{gaps[-1]:.3f} at step {history.records[-1].step}."
            )
        return "\n".join(lines)


def spread(sites: Sequence[str], most: int) -> list[str]:
    """All sites, or of more than `most` the first, the last and evenly chosen ones between them."""
    if len(sites) <= most:
        return [*sites]
    apart = (len(sites) - 1) / max(most - 1, 1)
    return [sites[round(number * apart)] for number in range(most)]
