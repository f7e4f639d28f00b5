"""GeometryRegularizer: add a loss on the geometry to a training step that knows nothing of it.

The training step is wrapped for the time of a fit: what it returns is the user's loss plus ours, as
if it stood in the step's own code, and so strategies, precision and accumulation treat it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import isfinite
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # type: ignore[attr-defined]
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_semgeom.capture.activations import hidden_state
from lightning_semgeom.capture.hooks import ModuleHook
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.names import compiled_around, find_hidden, module_at
from lightning_semgeom.capture.sites import find_unembedding, site_weight
from lightning_semgeom.faults import attempted
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.training.wrapping import WrappedStep


class GeometryRegularizer(pl.Callback):
    """Add `weight * loss(...)` to what `training_step` returns, with no change to the model's code.

    Gradients, and so weights, are those of the same loss added by hand at the end of the training
    step, also under DDP, FSDP2 and tensor parallelism, accumulation and mixed precision. Of several
    processes each takes the hidden states of its own batch. The loss without its weight is logged
    as `semgeom_loss/<name>`. Modules are held by name: one that the model gets anew is followed.

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

    @checked_kinds
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
        self._head_name: str | None = None
        self._hidden_name: str | None = None
        self._hooked: nn.Module | None = None
        self._output: Tensor | None = None
        self._labels: Tensor | Exception | None = None
        self._is_in_step = False
        self._handle: RemovableHandle | None = None
        self._wrapped: WrappedStep | None = None

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
        _check(
            self.hidden is None
            or not is_param_in_hook_signature(
                pl_module.training_step, "dataloader_iter", explicit=True
            ),
            f"{type(pl_module).__name__}.training_step takes dataloader_iter, so there is no batch "
            "to read the labels of hidden states from. Leave hidden out, or add the loss in "
            "training_step.",
        )

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not before: modules may be built or replaced in the model's own setup and configure_model.
        self._find(pl_module)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.loss.to(pl_module.device)
        self._find(pl_module)
        if self._head_name is not None and self._hidden_name is None:
            head = self._module(pl_module, self._head_name)
            if not any(parameter.requires_grad for parameter in head.parameters()):
                rank_zero_warn(
                    f"GeometryRegularizer: the unembedding '{self._head_name}' is frozen; while it "
                    "is, the loss changes nothing."
                )
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        all_of_them = [c for c in callbacks if isinstance(c, GeometryRegularizer)]
        if all_of_them[0] is self:  # one wrapper for all, so that there is one to take off
            self._wrapped = WrappedStep(pl_module, partial(_with_losses, all_of_them, pl_module))

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

    def _find(self, model: pl.LightningModule) -> None:
        """Find the names of the unembedding and of the hidden module."""
        num_rows = getattr(self.loss, "num_rows", None) or 0
        if self.unembedding:
            self._head_name, _ = find_unembedding(model, self.unembedding, num_rows)
        if self.hidden is None:
            return
        found = find_hidden(model, [self.hidden])
        _check(
            len(found) == 1,
            f"hidden='{self.hidden}' matches {len(found)} modules: {', '.join(found)}. Name one.",
        )
        (self._hidden_name,) = found
        compiled = compiled_around(model, self._hidden_name)
        _check(
            compiled is None,
            f"hidden='{self._hidden_name}' lies inside {compiled}, which is compiled: no hook is "
            "called there. Leave that part uncompiled, or add the loss in training_step.",
        )

    def _module(self, model: pl.LightningModule, name: str) -> nn.Module:
        found = module_at(model, name)
        if found is None:
            raise ValueError(f"GeometryRegularizer: '{name}' is gone from the model.")
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has: nothing that belongs to the fit at work."""
        gone = {"_handle": None, "_hooked": None, "_output": None, "_wrapped": None}
        return {**vars(self), **gone, "_is_in_step": False}

    def _begin_step(self, model: pl.LightningModule, batch: Any) -> None:
        """Be ready for the forward of a training step on `batch`."""
        self._is_in_step = True
        if self._hidden_name is None:
            return
        # The step may take the labels out of the batch, or put them there first.
        self._labels = attempted(self._reader.read, batch)
        module = self._module(model, self._hidden_name)
        if module is not self._hooked:
            if self._handle is not None:
                self._handle.remove()
            self._handle = module.register_forward_hook(ModuleHook(module, self._keep))
            self._hooked = module

    def _end_step(self) -> None:
        self._is_in_step, self._output, self._labels = False, None, None

    def _unwrap(self) -> None:
        if self._wrapped is not None:
            self._wrapped.undo()
            self._wrapped = None
        if self._handle is not None:
            self._handle.remove()
            self._handle = self._hooked = None

    def _added(self, model: pl.LightningModule, outputs: Any, batch: Any) -> Any:
        sites: dict[str, Tensor] = {}
        if self._head_name is not None:
            sites["unembedding"] = site_weight(self._module(model, self._head_name))
        if self._hidden_name is not None:
            sites["hidden"], sites["labels"] = self._hidden_rows(batch)
        found = self.loss(**sites)
        # A batch size is only asked for where Lightning cannot see the batch.
        name = f"semgeom_loss/{self.name}"
        model.log(name, found.detach(), on_step=True, on_epoch=False, batch_size=1)
        if isinstance(outputs, Tensor):
            return outputs + self.weight * found
        if isinstance(outputs, Mapping) and "loss" in outputs:
            return {**outputs, "loss": outputs["loss"] + self.weight * found}
        return outputs  # Lightning says what is wrong with it

    def _keep(self, output: Any) -> None:
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
        labels = self._labels if isinstance(self._labels, Tensor) else self._reader.read(batch)
        share = Share(limit=labels.numel())
        return self._reader.select(self._output, labels, share, self._reader.ends(batch))


@contextmanager
def _with_losses(
    regularizers: Sequence[GeometryRegularizer], model: pl.LightningModule, batch: Any
) -> Iterator[Callable[[Any], Any]]:
    """Around a training step on `batch`: add the losses of all regularizers to what it returns."""

    def added(outputs: Any) -> Any:
        if outputs is not None:
            for regularizer in regularizers:
                outputs = regularizer._added(model, outputs, batch)
        return outputs

    try:
        for regularizer in regularizers:
            regularizer._begin_step(model, batch)
        yield added
    finally:
        for regularizer in regularizers:
            regularizer._end_step()


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(f"GeometryRegularizer: {message}")
