"""AttributeTable: for each row of a site the value of each attribute, or that it has none.

Legend: N rows (token or class ids), A attributes; attribute a has the values 0..M_a-1, by name.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_semgeom.attributes.codes import check_column
from lightning_semgeom.attributes.coverage import Column, Coverage, LeftOut, common_values
from lightning_semgeom.attributes.files import read_columns, read_words
from lightning_semgeom.attributes.numbers import Cut
from lightning_semgeom.attributes.python import python_columns
from lightning_semgeom.attributes.surface import surface_columns
from lightning_semgeom.attributes.vocabulary import Vocabulary
from lightning_semgeom.attributes.wordnet import supersenses
from lightning_semgeom.attributes.words import token_columns

_SHOWN_VALUES = 5


@dataclass(frozen=True, eq=False, repr=False)
class AttributeTable:
    """Which row has which value of which attribute.

    Args:
        codes: int64 `[N, A]`: index into the attribute's values, -1 where the row is not labelled.
        names: the attributes' names.
        values: for each attribute the names of its values.
        left_out: what attributes might have labelled and did not, also of some that are not in the
            table since they had fewer than two values left; `coverage` tells.

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
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)

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
            check_column(name, codes[:, a], values)

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
    def from_file(
        cls,
        path: str | Path,
        tokenizer: Any = None,
        min_count: int = 1,
        threshold: float | None = None,
        quantile: float | None = None,
    ) -> AttributeTable:
        """Read a CSV or TSV file of rows or, with a tokenizer, of words.

        A wide file has a header, then one line a row: its id or label, and a column for each
        attribute (see `files.read_columns`). With a tokenizer the first column is a word, or the
        file is long, with the columns `word`, `attribute` and `value`. A word is the first single
        token of ` word`, `word`, `Word`; one with several values is not labelled.

        Args:
            path: the file.
            tokenizer: of `tokenizers` or `transformers`; the table's rows are its token ids.
            min_count: fewest rows of a value; rarer ones are left out.
            threshold: cut columns of numbers here: values `<=threshold` and `>threshold`.
            quantile: cut them at this quantile of their own numbers instead.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read as a table; the message names file, line and column.
            TypeError: if the tokenizer is none.
        """
        path, cut = Path(path), Cut.of(threshold, quantile)
        if tokenizer is None:
            return cls._common(read_columns(path, cut), min_count)
        columns = token_columns(read_words(path, cut), Vocabulary.of(tokenizer))
        return cls._common(columns, min_count)

    @classmethod
    def surface(cls, tokenizer: Any, min_count: int = 5) -> AttributeTable:
        """What each token of a vocabulary looks like; there for any tokenizer.

        - space: whether it begins with a space (WordPiece: begins a word), `space` or `none`;
        - case: lower, upper, capitalised or mixed, of tokens that are all letters;
        - digits, punctuation: of how many of its characters: all, some or none;
        - script: Latin, Cyrillic, Cjk, ..., of tokens with the letters of one;
        - length: in characters without a leading space: 1, 2, 3-4, 5-8, 9 or more.

        Special tokens and parts of a character are not labelled. An attribute for which this
        vocabulary has a single value is left out; `coverage` tells.

        Args:
            tokenizer: byte-level BPE, SentencePiece or WordPiece, of `tokenizers` or
                `transformers`; the table's rows are its token ids.
            min_count: fewest tokens of a value; rarer ones are left out.

        Raises:
            TypeError: if the tokenizer is none.
            ValueError: if no attribute has two values left.
        """
        return cls._common(surface_columns(Vocabulary.of(tokenizer).texts), min_count)

    @classmethod
    def python_tokens(cls, tokenizer: Any, min_count: int = 5) -> AttributeTable:
        """What each token is in Python source, as the running interpreter knows it: `kind`.

        keyword, exception, builtin (any other name of `builtins`), module (of the standard
        library), operator (punctuation), number, indentation (white space alone); other tokens are
        not labelled.

        Args and Raises as in `surface`.
        """
        return cls._common(python_columns(Vocabulary.of(tokenizer).texts), min_count)

    @classmethod
    def wordnet(cls, tokenizer: Any, path: str | Path, min_count: int = 5) -> AttributeTable:
        """The WordNet supersense of each token that is a word with exactly one: `supersense`.

        noun.animal, verb.motion, ...: the lexicographer file that all senses of the word, in all
        parts of speech, stand in. A word is the first single token of ` word`, `word`, `Word`.

        Args:
            tokenizer: as in `surface`.
            path: folder of a WordNet 3 database, such as `/usr/share/wordnet` of Debian's
                wordnet-base. Nothing is downloaded.
            min_count: as in `surface`.

        Raises:
            FileNotFoundError: if the folder lacks a file of the database.
            TypeError, ValueError: as in `surface`, and if a file cannot be read.
        """
        words = {"supersense": supersenses(Path(path))}
        (column,) = token_columns(words, Vocabulary.of(tokenizer)).values()
        # Most of its words are no token of any vocabulary; a list of those tells nobody anything.
        column = replace(column, left_out=replace(column.left_out, no_token=()))
        return cls._common({"supersense": column}, min_count)

    @classmethod
    def _common(cls, columns: Mapping[str, Column], min_count: int) -> AttributeTable:
        kept, left_out = common_values(columns, min_count)
        return replace(cls.from_dict(kept), left_out=left_out)

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
        values = tuple(self.values[column] for column in columns)
        left_out = {name: self.left_out[name] for name in names if name in self.left_out}
        return AttributeTable(self.codes[:, columns], names, values, left_out)

    def joined(self, *others: AttributeTable) -> AttributeTable:
        """The attributes of all the tables, for the same rows; a short one lacks the last ones.

        Raises:
            ValueError: if an attribute is in two of them.
        """
        tables = (self, *others)
        names = [name for table in tables for name in table.names]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(
                f"{', '.join(map(repr, sorted(twice)))} would be there twice; select(...) the "
                "attributes of one of the tables."
            )
        codes = torch.full((max(map(len, tables)), len(names)), -1, dtype=torch.int64)
        for table in tables:
            columns = [names.index(name) for name in table.names]
            codes[: len(table), columns] = table.codes.cpu()
        left_out = {name: lost for table in tables for name, lost in table.left_out.items()}
        values = tuple(found for table in tables for found in table.values)
        return AttributeTable(codes.to(self.codes.device), tuple(names), values, left_out)

    def shuffled(self, seed: int) -> AttributeTable:
        """The control: each attribute's codes permuted among the rows that it labels.

        Counts and unlabelled rows stay as they are, so what structure is left is chance.
        """
        generator = torch.Generator().manual_seed(seed)
        codes = self.codes.cpu().clone()
        for column in codes.T:
            labelled = (column >= 0).nonzero()[:, 0]
            column[labelled] = column[labelled[torch.randperm(len(labelled), generator=generator)]]
        return replace(self, codes=codes.to(self.codes.device))

    def coverage(self) -> dict[str, Coverage]:
        """How many rows each attribute labels and what it left out; `print` a table to see it.

        Attributes that are not in the table, since they had fewer than two values left, are told
        too, with no labelled row.
        """
        labelled = dict(zip(self.names, (self.codes >= 0).sum(0).tolist(), strict=True))
        lost = LeftOut()
        return {
            name: Coverage(
                **vars(self.left_out.get(name, lost)),
                rows=len(self),
                labelled=labelled.get(name, 0),
            )
            for name in dict.fromkeys((*self.names, *self.left_out))
        }

    def to(self, device: str | torch.device) -> AttributeTable:
        """The table with its codes on `device`."""
        return replace(self, codes=self.codes.to(device))

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
        values = dict(zip(self.names, self.values, strict=True))
        lines = [f"AttributeTable of {len(self)} rows"]
        for name, coverage in self.coverage().items():
            if name not in values:
                lines.append(f"  {name}: left out, fewer than 2 values; {coverage}")
                continue
            shown = ", ".join(values[name][:_SHOWN_VALUES])
            more = ", ..." if len(values[name]) > _SHOWN_VALUES else ""
            lines.append(f"  {name}: {len(values[name])} values ({shown}{more}), {coverage}")
        return "\n".join(lines)
