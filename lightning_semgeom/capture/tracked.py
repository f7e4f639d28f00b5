"""The modules of all sites, held by name: where the model has changed they are looked up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from lightning_semgeom.capture.adapters import inner_layer
from lightning_semgeom.capture.computed import may_be_late, stored_weight
from lightning_semgeom.capture.names import find_hidden, module_names
from lightning_semgeom.capture.sites import find_embedding, find_unembedding, site_shape

_Find = Callable[[nn.Module, bool | str, int], tuple[str, nn.Module]]


class TrackedSites:
    """Finds the modules of the sites, and follows the model when it gets others.

    Args:
        model: the model to look in.
        num_rows: rows of the attribute table.
        unembedding: True to find the output weight, its module's name, or False.
        embedding: the same for the input weight.
        hidden: names or globs of modules.

    Raises:
        ValueError: if a module is not found, or a weight does not fit the table.
    """

    def __init__(
        self,
        model: nn.Module,
        num_rows: int,
        unembedding: bool | str,
        embedding: bool | str,
        hidden: Sequence[str],
    ) -> None:
        self.weights: dict[str, nn.Module | Exception] = {}
        """Site -> its module, or why there is none any more."""
        self.hidden: dict[str, nn.Module | Exception] = {}
        """The same for hidden sites."""
        self.widths: dict[str, int] = {}
        """Width of the rows of each weight site."""
        self._num_rows = num_rows
        self._names: dict[str, str] = {}
        self._tree = _tree(model)
        self._searches: dict[str, tuple[bool | str, _Find]] = {}
        for site, wanted, find in (
            ("unembedding", unembedding, find_unembedding),
            ("embedding", embedding, find_embedding),
        ):
            if wanted:
                self._searches[site] = wanted, find
                self._hold(site, *find(model, wanted, num_rows))
        for name, module in find_hidden(model, hidden).items():
            self._names[f"hidden.{name}"] = name
            self.hidden[f"hidden.{name}"] = module

    def look_again(self, model: nn.Module) -> list[str]:
        """Follow a model whose modules are not the same ones any more; says what has changed.

        A look costs a walk over the modules, and a search only where one of them is another one.
        """
        tree = _tree(model)
        if tree == self._tree:  # modules are equal where they are the same object
            return []
        self._tree = tree
        names, news = module_names(model), []
        for site, before in list(self.weights.items()):
            try:
                name, module, doubt = self._found(site, model, names)
                if doubt is not None:
                    news.append(f"{site} is '{name}' still, although {doubt}")
                if module is not before:
                    shape = self._hold(site, name, module)
                    news.append(f"{site} is '{name}' {list(shape)} now: the model has a new one")
            except Exception as fault:  # told in the record: a run that trains is not ended
                self.weights[site] = fault
        for site, held in list(self.hidden.items()):
            name = self._names[site]
            if name not in names:
                self.hidden[site] = _gone(name)
            elif names[name] is not held:
                self.hidden[site] = names[name]
                news.append(f"{site} is another {type(names[name]).__name__} now")
        return news

    def notes(self) -> list[str]:
        """What may be wrong with the weights, in words."""
        return [
            f"the weight of {site} '{self._names[site]}' is a plain tensor and no parameter: where "
            "each forward computes it, the figures are those of the last forward, one update late"
            for site, module in self.weights.items()
            if isinstance(module, nn.Module) and may_be_late(inner_layer(module))
        ]

    def _found(
        self, site: str, model: nn.Module, names: dict[str, nn.Module]
    ) -> tuple[str, nn.Module, Exception | None]:
        """Name and module, and why it may not be the one that is meant any more."""
        wanted, find = self._searches[site]
        name = self._names[site]
        try:
            return *find(model, wanted, self._num_rows), None
        except Exception as fault:
            # As where a second candidate came: the one that is measured is still there.
            if name in names and not isinstance(self.weights[site], Exception):
                return name, names[name], fault
            raise _gone(name) from None

    def _hold(self, site: str, name: str, module: nn.Module) -> tuple[int, int]:
        rows, width = shape = site_shape(module)
        weight = stored_weight(inner_layer(module))
        if weight is not None and not (weight.is_floating_point() or weight.is_complex()):
            raise ValueError(
                f"{site} '{name}' is quantised: its weight is {weight.dtype} "
                f"{list(weight.shape)}, numbers of levels and no vectors. Leave the site out, "
                f"{site}=False, or load the model with this layer in a floating point dtype."
            )
        if self._num_rows > rows:
            raise ValueError(
                f"the attribute table has {self._num_rows} rows, but {site} '{name}' has only "
                f"{rows}. Where the table's last rows are added tokens that the model does not "
                f"know, cut it: table.first({rows}). Else give a table with one row a token or "
                "class; a shorter one leaves the rest out."
            )
        self._names[site], self.weights[site], self.widths[site] = name, module, width
        return shape


def _tree(model: nn.Module) -> list[tuple[str, nn.Module] | None]:
    """All modules under each of their names, in order; None where one has no more within it."""
    tree: list[tuple[str, nn.Module] | None] = []

    def walk(module: nn.Module) -> None:
        for name, child in module._modules.items():
            if child is not None:
                tree.append((name, child))
                walk(child)
        tree.append(None)

    walk(model)
    return tree


def _gone(name: str) -> ValueError:
    return ValueError(
        f"'{name}' is gone from the model since the run began, so there is nothing to measure."
    )
