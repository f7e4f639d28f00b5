"""GeometryRegularizer: add a loss on the geometry to a training step that knows nothing of it.

The training step is wrapped for the time of a fit: what it returns is the user's loss plus ours, as
if it stood in the step's own code, and so strategies, precision and accumulation treat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from math import isfinite
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_semgeom.capture.activations import hidden_state
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.names import compiled_around, find_hidden
from lightning_semgeom.capture.sites import find_unembedding, site_weight


class GeometryRegularizer(pl.Callback):
    """Add `weight * loss(...)` to what `training_step` returns, with no change to the model's code.

    Gradients, and so weights, are those of the same loss added by hand at the end of the training
    step, also under DDP, FSDP2 and tensor parallelism, accumulation and mixed precision. Of several
    processes each takes the hidden states of its own batch. The loss without its weight is logged
    as `semgeom_loss/<name>`.

    Args:
        loss: `GramAnchor`, `AttributeAlignment`, `GramDispersion`, or any module that is called as
            `loss(unembedding=[n, d])`, `loss(hidden=[m, d], labels=int64 [m])` or with both, and
            answers with a scalar. Its state is saved in checkpoints; it has no parameters.
        weight: what it is multiplied with.
        unembedding: give it the output weight: True finds it, a dotted name says which it is.
        hidden: name of the module whose output is given; None: no hidden states.
        labels: where the batch has the label of each output position, as in `SemanticGeometry`.
        positions: take all positions of a sequence, or the last one with a label.
        shift_labels: True where labels are the inputs themselves, as in Hugging Face batches.
        name: of the logged key and the saved state; None: the loss's class. Several of one fit need
            different ones.

    Raises:
        ValueError: if arguments contradict each other, or before training starts, if a module does
            not exist, or if this cannot be done: with manual optimization, with weights that
            FullyShardedDataParallel or DeepSpeed keeps flat, with hidden states of a module inside
            a compiled one. In the first step, if the hidden module is not called in it.

    Example:
        >>> from lightning_semgeom import GramAnchor
        >>> from lightning_semgeom.settings.factored import FactoredData, FactoredModel
        >>> anchor = GeometryRegularizer(GramAnchor(num_rows=64), weight=10.0)
        >>> trainer = pl.Trainer(
        ...     max_steps=3, callbacks=[anchor], logger=False, enable_checkpointing=False,
        ...     accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(FactoredModel(), FactoredData())
        >>> trainer.callback_metrics["semgeom_loss/GramAnchor"].item()  # too early to hold
        0.0
    """

    def __init__(
        self,
        loss: nn.Module,
        weight: float = 1.0,
        unembedding: bool | str = True,
        hidden: str | None = None,
        labels: str | int | Callable[[Any], Tensor] = "labels",
        positions: Literal["all", "last"] = "all",
        shift_labels: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        _check(
            bool(unembedding or hidden),
            "there is nothing to act on: unembedding is False and hidden names no module.",
        )
        _check(isfinite(weight), f"weight must be a finite number; got {weight}.")
        _check(positions in ("all", "last"), f"positions must be 'all' or 'last': {positions!r}.")
        _check(
            not list(loss.parameters()),
            f"{type(loss).__name__} has parameters, which no optimizer of the model knows. Make it "
            "a part of the model and add it in training_step.",
        )
        self.loss = loss
        self.weight = weight
        self.unembedding = unembedding
        self.hidden = hidden
        self.name = type(loss).__name__ if name is None else name
        self._reader = LabelReader(labels, positions, shift_labels)
        self._head: nn.Module | None = None
        self._output: Tensor | None = None
        self._is_in_step = False
        self._handle: RemovableHandle | None = None
        self._undo: Callable[[], None] | None = None

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name)

    @override
    def state_dict(self) -> dict[str, Any]:
        return self.loss.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss.load_state_dict(state_dict)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        _check(
            pl_module.automatic_optimization,
            f"{type(pl_module).__name__} steps its optimizers by hand, so there is no loss to add "
            "to. Add the loss in training_step.",
        )
        _check(
            not isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy),
            f"{type(trainer.strategy).__name__} keeps weights flat and in pieces. Use "
            "ModelParallelStrategy (FSDP2).",
        )
        # A model that is built in configure_model is not there yet; on_train_start looks then.
        if not is_overridden("configure_model", pl_module):
            self._find(pl_module)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.loss.to(pl_module.device)
        module = self._find(pl_module)
        if module is not None:
            self._handle = module.register_forward_hook(self._keep)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        all_of_them = [c for c in callbacks if isinstance(c, GeometryRegularizer)]
        if all_of_them[0] is self:  # one wrapper for all, so that there is one to take off
            self._wrap(pl_module, all_of_them)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._unwrap()

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._unwrap()

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._unwrap()

    def _find(self, model: pl.LightningModule) -> nn.Module | None:
        """Find the unembedding; answer with the hidden module."""
        num_rows = getattr(self.loss, "num_rows", None) or 0
        if self.unembedding:
            _, self._head = find_unembedding(model, self.unembedding, num_rows)
        if self.hidden is None:
            return None
        found = find_hidden(model, [self.hidden])
        _check(
            len(found) == 1,
            f"hidden='{self.hidden}' matches {len(found)} modules: {', '.join(found)}. Name one.",
        )
        ((name, module),) = found.items()
        compiled = compiled_around(model, name)
        _check(
            compiled is None,
            f"hidden='{name}' lies inside {compiled}, which is compiled: no hook is called there. "
            "Leave that part uncompiled, or add the loss in training_step.",
        )
        return module

    def _wrap(self, model: pl.LightningModule, regularizers: Sequence[GeometryRegularizer]) -> None:
        own, step = vars(model).get("training_step"), model.training_step

        @wraps(step)
        def with_losses(*arguments: Any, **named: Any) -> Any:
            for regularizer in regularizers:
                regularizer._is_in_step = True
            try:
                outputs = step(*arguments, **named)
                if outputs is not None:
                    for regularizer in regularizers:
                        outputs = regularizer._added(model, outputs, *arguments[:1])
                return outputs
            finally:
                for regularizer in regularizers:
                    regularizer._is_in_step, regularizer._output = False, None

        def undo() -> None:
            if own is None:
                del model.training_step
            else:
                model.training_step = own  # type: ignore[method-assign]

        model.training_step = with_losses  # type: ignore[method-assign]
        self._undo = undo

    def _unwrap(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _added(self, model: pl.LightningModule, outputs: Any, batch: Any = None) -> Any:
        sites: dict[str, Tensor] = {}
        if self._head is not None:
            sites["unembedding"] = site_weight(self._head)
        if self.hidden is not None:
            sites["hidden"], sites["labels"] = self._hidden_rows(batch)
        found = self.loss(**sites)
        model.log(f"semgeom_loss/{self.name}", found.detach(), on_step=True, on_epoch=False)
        if isinstance(outputs, Tensor):
            return outputs + self.weight * found
        if isinstance(outputs, Mapping) and "loss" in outputs:
            return {**outputs, "loss": outputs["loss"] + self.weight * found}
        return outputs  # Lightning says what is wrong with it

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Keep the first output of a training step; later ones may be recomputed for a backward."""
        if self._is_in_step and self._output is None:
            self._output = hidden_state(output)

    def _hidden_rows(self, batch: Any) -> tuple[Tensor, Tensor]:
        if self._output is None:
            raise ValueError(
                f"GeometryRegularizer: the training step did not call hidden='{self.hidden}'. Name "
                "a module that it calls; inside compiled code hooks are not called."
            )
        if not self._output.requires_grad:
            raise ValueError(
                f"GeometryRegularizer: the output of hidden='{self.hidden}' has no gradient. It is "
                "frozen, detached, or inside a reentrant activation checkpoint, which needs "
                "use_reentrant=False."
            )
        labels = self._reader.read(batch)
        return self._reader.select(self._output, labels, Share(limit=labels.numel()))


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(f"GeometryRegularizer: {message}")
