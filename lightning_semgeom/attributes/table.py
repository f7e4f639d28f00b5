"""AttributeTable: for each row of a site the value of each attribute, or that it has none.

Legend: N rows (token or class ids), A attributes; attribute a has the values 0..M_a-1, by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_semgeom.attributes.codes import check_parts, coded
from lightning_semgeom.attributes.coverage import (
    Column,
    Coverage,
    LeftOut,
    common_values,
    coverages,
    described,
)
from lightning_semgeom.attributes.entries import entries_of, texts_of
from lightning_semgeom.attributes.files import read_columns, read_words
from lightning_semgeom.attributes.missing import MISSING, checked_missing
from lightning_semgeom.attributes.numbers import Cut
from lightning_semgeom.attributes.python import python_columns
from lightning_semgeom.attributes.rearranged import (
    first_codes,
    joined_codes,
    positions,
    shuffled_codes,
)
from lightning_semgeom.attributes.surface import surface_columns
from lightning_semgeom.attributes.values import columns_of, tell_unshared
from lightning_semgeom.attributes.vocabulary import Vocabulary
from lightning_semgeom.attributes.wordnet import supersenses
from lightning_semgeom.attributes.words import Words, token_columns


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

    MISSING: ClassVar[frozenset[str]] = MISSING
    """The texts that stand for no value where nobody says otherwise."""

    codes: Tensor
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_parts(self.codes, self.names, self.values)

    @classmethod
    def from_dict(
        cls,
        columns: Mapping[Any, Iterable[Any]] | Any,
        missing: Collection[str] = MISSING,
        threshold: float | None = None,
        quantile: float | None = None,
    ) -> AttributeTable:
        """Make a table from one sequence an attribute, with one entry a row, or from a DataFrame.

        None, NaN, NaT, pandas.NA, masked cells and the texts in `missing` are not labelled. Values
        get their codes in the order in which they first appear. The index of a DataFrame, of a
        Series and of `df.to_dict()` is one of row ids if it has whole numbers; then rows that it
        lacks are not labelled.

        Args:
            columns: a dict of sequences or Series, a DataFrame, or a Series with a name.
            missing: the texts that stand for no value; `MISSING - {"NA"}` keeps a value "NA".
            threshold: cut columns of numbers here: values `<=threshold` and `>threshold`.
            quantile: cut them at this quantile of their own numbers instead.

        Raises:
            TypeError: if there is no sequence for an attribute, or an entry is no value.
            ValueError: if the sequences are not of one length, an index has an entry that is no row
                id, and as the class says.
        """
        cut, texts = Cut.of(threshold, quantile), checked_missing(missing)
        entries = {name: texts_of(column) for name, column in entries_of(columns).items()}
        found = columns_of(entries, texts, cut, lambda name, row: f"attribute '{name}', row {row}")
        tell_unshared({name: column.values for name, column in found.items()})
        left_out = {name: one.left_out for name, one in found.items() if one.left_out.missing}
        return replace(cls._coded(found), left_out=left_out)

    @classmethod
    def _coded(cls, columns: Mapping[str, Column]) -> AttributeTable:
        codes, values = coded({name: column.values for name, column in columns.items()})
        return cls(codes, tuple(columns), values)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        tokenizer: Any = None,
        min_count: int = 1,
        threshold: float | None = None,
        quantile: float | None = None,
        missing: Collection[str] = MISSING,
    ) -> AttributeTable:
        """Read a CSV or TSV file of rows or, with a tokenizer, of words.

        A wide file has a header, then one line a row: its id or label, and a column for each
        attribute (see `files.read_columns`). With a tokenizer the first column is a word, or the
        file is long, with the columns `word`, `attribute` and `value`. A word is the first single
        token of ` word`, `word`, `Word`, or of its lower case; one with several values is not
        labelled.

        Args:
            path: the file.
            tokenizer: of `tokenizers` or `transformers`; the table's rows are its token ids.
            min_count: fewest rows of a value; rarer ones are left out.
            threshold: cut columns of numbers here: values `<=threshold` and `>threshold`.
            quantile: cut them at this quantile of their own numbers instead.
            missing: as in `from_dict`; of values alone, as a word may well be "null".

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read as a table; the message names file, line and column.
            TypeError: if the tokenizer is none.
        """
        path, cut, texts = Path(path), Cut.of(threshold, quantile), checked_missing(missing)
        if tokenizer is None:
            columns = read_columns(path, texts, cut)
        else:
            columns = token_columns(read_words(path, texts, cut), Vocabulary.of(tokenizer))
        table = cls._common(columns, min_count)
        tell_unshared({name: columns[name].values for name in table.names})
        return table

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
        words = {"supersense": Words(supersenses(Path(path)))}
        (column,) = token_columns(words, Vocabulary.of(tokenizer)).values()
        # Most of its words are no token of any vocabulary; a list of those tells nobody anything.
        column = replace(column, left_out=replace(column.left_out, no_token=(), other_case=()))
        return cls._common({"supersense": column}, min_count)

    @classmethod
    def _common(cls, columns: Mapping[str, Column], min_count: int) -> AttributeTable:
        kept, left_out = common_values(columns, min_count)
        return replace(cls._coded(kept), left_out=left_out)

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
        columns = positions(names, self.names)
        values = tuple(self.values[column] for column in columns)
        left_out = {name: self.left_out[name] for name in names if name in self.left_out}
        return AttributeTable(self.codes[:, columns], names, values, left_out)

    def first(self, n: int) -> AttributeTable:
        """The table of the first `n` rows, such as those that a head has; all, if it has no more.

        Tokens that were added to a tokenizer after the model stand at its end. Values that no row
        is left of are gone, and so is an attribute with fewer than two, which `coverage` tells.

        Raises:
            ValueError: if `n` is less than 1, or no attribute is left.
        """
        codes, kept = first_codes(self.codes, n)
        names = tuple(self.names[a] for a in kept)
        values = tuple(tuple(self.values[a][code] for code in left) for a, left in kept.items())
        lost = {name: self.left_out.get(name, LeftOut()) for name in self.names}
        return AttributeTable(codes, names, values, {**self.left_out, **lost})

    def joined(self, *others: AttributeTable) -> AttributeTable:
        """The attributes of all the tables, for the same rows; a short one lacks the last ones.

        Raises:
            ValueError: if an attribute is in two of them.
        """
        tables = (self, *others)
        names = [name for table in tables for name in table.names]
        codes = joined_codes([table.codes for table in tables], [table.names for table in tables])
        left_out = {name: lost for table in tables for name, lost in table.left_out.items()}
        values = tuple(found for table in tables for found in table.values)
        return AttributeTable(codes.to(self.codes.device), tuple(names), values, left_out)

    def shuffled(self, seed: int) -> AttributeTable:
        """The control: each attribute's codes permuted among the rows that it labels.

        Counts and unlabelled rows stay as they are, so what structure is left is chance.
        """
        return replace(self, codes=shuffled_codes(self.codes, seed).to(self.codes.device))

    def coverage(self) -> dict[str, Coverage]:
        """How many rows each attribute labels and what it left out; `print` a table to see it.

        Attributes that are not in the table, since they had fewer than two values left, are told
        too, with no labelled row.
        """
        labelled = dict(zip(self.names, (self.codes >= 0).sum(0).tolist(), strict=True))
        return coverages(labelled, self.left_out, len(self))

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
        return f"AttributeTable of {len(self)} rows\n{described(values, self.coverage())}"
