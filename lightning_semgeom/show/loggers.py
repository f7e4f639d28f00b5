"""What each kind of logger gets, and where a run's files are.

Loggers are known by the names of their classes, since those of `lightning` and `pytorch_lightning`
are not related. A kind that is not known here gets the figures by `log_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_semgeom.record.beside import Beside
from lightning_semgeom.stores import make_folder, place, write

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import Logger

    from lightning_semgeom.show.drawing import Ready, Sender
    from lightning_semgeom.show.sheets import Drawn


def prepare(logger: Any, name: str) -> None:
    """Tell W&B to keep the largest gap in its summary; other loggers need nothing."""
    if kind_of(logger) == "WandbLogger":
        # A metric of its own name has to be told the x axis again.
        logger.experiment.define_metric(
            f"{name}/gap", step_metric="trainer/global_step", summary="max,last"
        )


def log_figures(logger: Any, values: Mapping[str, float], step: int) -> None:
    """Send the figures of the record of `step`, by key."""
    named = _for_mlflow(values) if kind_of(logger) == "MLFlowLogger" else dict(values)
    logger.log_metrics(named, step=step)


def sender_beside(logger: Any) -> Sender | None:
    """What a thread beside the training does with each picture for `logger`, where it takes long.

    That is to send it, where it goes to a server; for W&B to file it, where no row names it yet.
    The client is asked for here, by the thread that trains.
    """
    kind = kind_of(logger)
    if kind == "WandbLogger":
        return partial(_bind_to_wandb, logger.experiment)
    if kind == "MLFlowLogger":
        return partial(_send_to_mlflow, logger.experiment, logger.run_id)
    if kind == "CometLogger":
        return partial(_send_to_comet, logger.experiment)
    return None


def log_pictures(logger: Any, ready: Ready, beside: Beside) -> None:
    """Send what no thread beside has sent: to W&B the pictures of a record in one row."""
    kind = kind_of(logger)
    if kind == "WandbLogger" and ready.is_whole:
        images = {key: drawn.for_wandb for key, drawn in ready.pictures.items()}
        # The logger adds the x itself: a `step` of W&B's own must only grow.
        logger.log_metrics(images, step=ready.step)
    elif kind in _SENDERS and not ready.is_whole:
        for key, drawn in ready.pictures.items():
            send = partial(_SENDERS[kind], logger, key, drawn, ready.step)
            beside.do(place(logger.log_dir) if kind == "CSVLogger" else None, send)


def takes_pictures(loggers: Iterable[Logger]) -> bool:
    """Whether any of the loggers is of a kind that gets pictures."""
    return any(map(kind_of, loggers))


def alert(loggers: Iterable[Any], title: str, text: str) -> None:
    """Send a message to those who watch a W&B run."""
    for logger in loggers:
        if kind_of(logger) == "WandbLogger":
            logger.experiment.alert(title=title, text=text)


def tell_aside(folder: Path | None, aside: Path | None) -> None:
    """Say that what an earlier run had left in `folder` is now `aside`, where that is so."""
    if aside is not None:
        rank_zero_info(
            f"SemanticGeometry: '{folder}' had the history of an earlier run, which is now in "
            f"'{aside}'. A logger, or another default_root_dir, gives each run its own folder."
        )


def kind_of(logger: Logger) -> str:
    """The name of the known class that the logger is of, or made from; "" for others."""
    names = [cls.__name__ for cls in type(logger).__mro__]
    return next((name for name in names if name in _KINDS), "")


def _for_mlflow(values: Mapping[str, float]) -> dict[str, float]:
    """`gap/colour` as `gap.colour`: a store of files cannot have a file `gap` and a folder."""
    named = {}
    for key, value in values.items():
        root, metric, attribute = (*key.split("/", 2), "", "")[:3]
        named[f"{root}/{metric}" + (f".{attribute}" if attribute else "")] = value
    return named


def _send_to_tensorboard(logger: Any, key: str, drawn: Drawn, step: int) -> None:
    writer = logger.experiment
    if not type(writer).__module__.startswith("torch."):  # tensorboardX has messages of its own
        writer.add_image(key, drawn.pixels, step, dataformats="HWC")
        return
    from tensorboard.compat.proto.summary_pb2 import Summary

    # As `add_image` does, which would make a PNG of it again.
    height, width = drawn.size
    image = {"height": height, "width": width, "colorspace": 3, "encoded_image_string": drawn.png}
    value = Summary.Value(tag=key, image=Summary.Image(**image))
    writer._get_file_writer().add_summary(Summary(value=[value]), step)


def _bind_to_wandb(run: Any, key: str, drawn: Drawn, step: int) -> None:
    with suppress(ImportError):
        import pandas  # noqa: F401 (W&B does when it logs a picture first: steps would wait)
    drawn.bind_to_wandb(run, key, step)


def _send_to_mlflow(client: Any, run: str, key: str, drawn: Drawn, step: int) -> None:
    client.log_image(run, drawn.pixels, key=key, step=step)


def _send_to_comet(experiment: Any, key: str, drawn: Drawn, step: int) -> None:
    from PIL import Image

    # Given an array, it asks the file system whether it is a path.
    experiment.log_image(Image.fromarray(drawn.pixels), name=key, step=step)


def _send_to_files(logger: Any, key: str, drawn: Drawn, step: int) -> None:
    file = place(logger.log_dir) / f"{key}_{step:08d}.png"
    make_folder(file.parent)
    write(file, drawn.png)


_SENDERS: dict[str, Callable[[Any, str, Drawn, int], None]] = {
    "TensorBoardLogger": _send_to_tensorboard,
    "CSVLogger": _send_to_files,
}
_KINDS = ("WandbLogger", "MLFlowLogger", "CometLogger", *_SENDERS)


def tell_monitored(
    trainer: pl.Trainer,
    pl_module: pl.LightningModule,
    values: Mapping[str, float],
    shown: Iterable[str],
) -> None:
    """Put values where ModelCheckpoint, EarlyStopping and, those `shown`, progress bars look."""
    import torch

    # As `LightningModule.log` does at the end, which takes a millisecond a key and copies to the
    # device.
    trainer.callback_metrics.update({key: torch.tensor(value) for key, value in values.items()})
    for key in shown if trainer.progress_bar_callback is not None else ():
        if key in values:
            # No batch gave it: a batch size is only asked for where Lightning cannot see the batch.
            pl_module.log(
                key,
                values[key],
                logger=False,
                prog_bar=True,
                on_step=True,
                on_epoch=False,
                batch_size=1,
            )


def run_folder(trainer: pl.Trainer) -> Path:
    """The folder of this run: where the first logger writes, as ModelCheckpoint has it."""
    loggers = trainer.loggers
    root = place((loggers[0].save_dir if loggers else None) or trainer.default_root_dir)
    if not loggers:
        return root
    logger = loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return root / str(logger.name) / version
