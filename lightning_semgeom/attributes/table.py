"""AttributeTable: for each row of a site the value of each attribute, or that it has none.

Legend: N rows (token or class ids), A attributes; attribute a has the values 0..M_a-1, by name.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_SHOWN_VALUES = 5


@dataclass(frozen=True, eq=False, repr=False)
class AttributeTable:
    """Which row has which value of which attribute.

    Args:
        codes: int64 `[N, A]`: index into the attribute's values, -1 where the row is not labelled.
        names: the attributes' names.
        values: for each attribute the names of its values.

    Raises:
        ValueError: if the parts do not fit each other, an attribute has fewer than two values, or
            labels no row.

    Example:
        >>> table = AttributeTable.from_dict({"colour": ["red", "blue", None, "red"]})
        >>> table
        AttributeTable of 4 rows
          colour: 2 values (red, blue), 3 rows labelled (75 %)
    """

    codes: Tensor
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        codes, columns = self.codes, len(self.names)
        if codes.ndim != 2 or codes.dtype != torch.int64 or codes.shape[1] != columns:
            raise ValueError(
                f"codes must be int64 [rows, {columns}], one column for each of the {columns} "
                f"names; got {codes.dtype} {list(codes.shape)}."
            )
        if columns == 0:
            raise ValueError("an AttributeTable needs at least one attribute; names is empty.")
        if len(set(self.names)) < columns or not all(self.names):
            raise ValueError(f"names must be different and not empty; got {list(self.names)}.")
        if len(self.values) != columns:
            raise ValueError(
                f"values must have {columns} entries, as names; got {len(self.values)}."
            )
        for a, (name, values) in enumerate(zip(self.names, self.values, strict=True)):
            _check_column(name, codes[:, a], values)

    @classmethod
    def from_dict(cls, columns: Mapping[str, Sequence[Hashable | None]]) -> AttributeTable:
        """Make a table from one sequence an attribute, with one entry a row; None: not labelled.

        Values get their codes in the order in which they first appear.

        Raises:
            ValueError: if the sequences are not of one length, and as the class says.
        """
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{name}' has {length}" for name, length in lengths.items())
            raise ValueError(f"all attributes must have one entry a row, the same number: {told}.")
        values = []
        codes = torch.full((next(iter(lengths.values()), 0), len(columns)), -1, dtype=torch.int64)
        for a, column in enumerate(columns.values()):
            found: dict[str, int] = {}
            column_codes = [
                -1 if entry is None else found.setdefault(str(entry), len(found))
                for entry in column
            ]
            codes[:, a] = torch.tensor(column_codes, dtype=torch.int64)
            values.append(tuple(found))
        return cls(codes, tuple(columns), tuple(values))

    @classmethod
    def from_file(cls, path: str | Path) -> AttributeTable:
        """Read a wide CSV or TSV file: a header, then one line a row; see `files.read_columns`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read as a table; the message names file, line and column.
        """
        from lightning_semgeom.attributes.files import read_columns

        return cls.from_dict(read_columns(Path(path)))

    @property
    def num_values(self) -> tuple[int, ...]:
        """M_a: the number of values of each attribute."""
        return tuple(len(values) for values in self.values)

    def __len__(self) -> int:
        return self.codes.shape[0]

    def select(self, names: str | Sequence[str]) -> AttributeTable:
        """The table with these attributes alone, in this order.

        Raises:
            ValueError: if an attribute is unknown.
        """
        names = (names,) if isinstance(names, str) else tuple(names)
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(
                f"unknown attribute {', '.join(map(repr, unknown))}; the table has "
                f"{', '.join(map(repr, self.names))}."
            )
        columns = [self.names.index(name) for name in names]
        return AttributeTable(
            self.codes[:, columns], names, tuple(self.values[column] for column in columns)
        )

    def shuffled(self, seed: int) -> AttributeTable:
        """The control: each attribute's codes permuted among the rows that it labels.

        Counts and unlabelled rows stay as they are, so what structure is left is chance.
        """
        generator = torch.Generator().manual_seed(seed)
        codes = self.codes.cpu().clone()
        for column in codes.T:
            labelled = (column >= 0).nonzero()[:, 0]
            column[labelled] = column[labelled[torch.randperm(len(labelled), generator=generator)]]
        return AttributeTable(codes.to(self.codes.device), self.names, self.values)

    def coverage(self) -> dict[str, float]:
        """The share of rows that each attribute labels."""
        shares = (self.codes >= 0).double().mean(0).tolist()
        return dict(zip(self.names, shares, strict=True))

    def to(self, device: str | torch.device) -> AttributeTable:
        """The table with its codes on `device`."""
        return AttributeTable(self.codes.to(device), self.names, self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AttributeTable):
            return NotImplemented
        return (
            self.names == other.names
            and self.values == other.values
            and torch.equal(self.codes.cpu(), other.codes.cpu())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        lines = [f"AttributeTable of {len(self)} rows"]
        for a, (name, values) in enumerate(zip(self.names, self.values, strict=True)):
            shown = ", ".join(values[:_SHOWN_VALUES])
            more = ", ..." if len(values) > _SHOWN_VALUES else ""
            labelled = int((self.codes[:, a] >= 0).sum())
            lines.append(
                f"  {name}: {len(values)} values ({shown}{more}), {labelled} rows labelled "
                f"({labelled / len(self):.0%})".replace("%)", " %)")
            )
        return "\n".join(lines)


def _check_column(name: str, codes: Tensor, values: tuple[str, ...]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"attribute '{name}' has a value twice: {list(values)}.")
    if codes.numel() == 0 or int(codes.max()) < 0:
        raise ValueError(
            f"attribute '{name}' labels no row at all; label some rows, or leave it out."
        )
    if len(values) < 2:
        raise ValueError(
            f"attribute '{name}' has a single value, {list(values)}: nothing can be compared. Give "
            "it a second value, or leave it out."
        )
    low, high = int(codes.min()), int(codes.max())
    if low < -1 or high >= len(values):
        raise ValueError(
            f"the codes of attribute '{name}' must lie in -1..{len(values) - 1}, as it has "
            f"{len(values)} values; found {low}..{high}."
        )
