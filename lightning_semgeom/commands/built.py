"""The model of a folder of `save_pretrained`, built from its `config.json` alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.tensors import CheckpointError
from lightning_semgeom.extras import needs

CONFIG = "config.json"
_BY_HAND = (
    "Give a function that builds it: analyze(paths, table, build=function, data=batches) in Python."
)
# What of a configuration changes neither the weights nor what is made of them.
_OF_NO_ACCOUNT = {
    *("transformers_version", "torch_dtype", "dtype", "_name_or_path", "use_cache"),
    "architectures",
}


@dataclass(frozen=True)
class Built:
    """What models a run has, as the folder of its first checkpoint says."""

    folder: Path
    """That folder."""
    config: dict[str, Any]
    """What is in its `config.json`."""
    masked: bool
    """Whether it predicts tokens that are masked, and not those that follow."""

    @classmethod
    def of(cls, checkpoints: Sequence[Checkpoint]) -> Built:
        """The model of the first of `checkpoints`.

        Raises:
            ValueError: if transformers cannot build it.
        """
        folder = _folder_of(checkpoints[0].path)
        if not (folder / CONFIG).is_file():
            raise ValueError(
                f"--text: there is no '{folder / CONFIG}', so the model of "
                f"'{checkpoints[0]}' is not known. {_BY_HAND}"
            )
        config = _config_in(folder)
        return cls(folder, config, _is_masked(folder, config.get("architectures")))

    def check_context(self, context: int) -> None:
        """Raise a ValueError where a context is longer than the model's."""
        most = getattr(self._loaded().get_text_config(), "max_position_embeddings", None)
        if isinstance(most, int) and context > most:
            raise ValueError(f"--context {context} is more than the {most} positions of the model.")

    def maker(self) -> Callable[[], nn.Module]:
        """What builds the model in fp32: on a CUDA device, if there is one."""
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

        made_by = AutoModelForMaskedLM if self.masked else AutoModelForCausalLM
        config = self._loaded()

        def build() -> nn.Module:
            model: nn.Module = made_by.from_config(config, trust_remote_code=False).float()
            return model.to("cuda" if torch.cuda.is_available() else "cpu")

        return build

    def check(self, path: Path) -> None:
        """Raise a CheckpointError where the model of a checkpoint is another one."""
        folder = _folder_of(path)
        if not (folder / CONFIG).is_file():
            raise CheckpointError(f"it has no '{CONFIG}', so its model is not known.")
        own = _config_in(folder)
        keys = (own.keys() | self.config.keys()) - _OF_NO_ACCOUNT
        other = sorted(key for key in keys if own.get(key) != self.config.get(key))
        if other:
            told = ", ".join(f"{k} {own.get(k)!r} and not {self.config.get(k)!r}" for k in other)
            raise CheckpointError(f"its '{CONFIG}' is not that of '{self.folder}': {told}.")

    def _loaded(self) -> Any:
        with needs("hf"):
            from transformers import AutoConfig

        try:
            # By way of a file of this machine: the folder may be in a store.
            with TemporaryDirectory() as here:
                (Path(here) / CONFIG).write_text(json.dumps(self.config), encoding="utf-8")
                return AutoConfig.from_pretrained(
                    here, local_files_only=True, trust_remote_code=False
                )
        except (ValueError, OSError) as fault:
            raise ValueError(f"--text: '{self.folder / CONFIG}' cannot be used: {fault}") from None


def _is_masked(folder: Path, architectures: Any) -> bool:
    with needs("hf"):
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

    named = architectures if isinstance(architectures, list) else []
    for names, masked in (
        (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, False),
        (MODEL_FOR_MASKED_LM_MAPPING_NAMES, True),
    ):
        known = {n for one in names.values() for n in ((one,) if isinstance(one, str) else one)}
        if known & set(named):
            return masked
    raise ValueError(
        f"--text: '{folder / CONFIG}' has the architectures {named}, of which transformers knows "
        f"none as a language model, causal or masked. {_BY_HAND}"
    )


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _config_in(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as fault:
        raise CheckpointError(f"'{folder / CONFIG}' is no JSON ({fault}).") from None
    return found if isinstance(found, dict) else {}
