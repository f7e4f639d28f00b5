"""How much of a vocabulary an attribute labels, and what it had to leave out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

_SHOWN = 5


@dataclass(frozen=True)
class LeftOut:
    """What an attribute might have labelled and did not."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Values with fewer rows than `min_count`: how many they had."""
    ambiguous: tuple[str, ...] = ()
    """Words that are a token and have several values."""
    no_token: tuple[str, ...] = ()
    """Words of a file that are no single token."""
    other_case: tuple[str, ...] = ()
    """Words that are one in another case alone, in a way in which no word is tried, or which is
    that of another word."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Texts that were taken for no value: how many entries had them."""

    def in_words(self) -> list[str]:
        """What was left out, such as `dropped below min_count: noun.food (3)`."""
        parts = []
        for counts, what in (
            (self.dropped, "dropped below min_count"),
            (self.missing, "taken for no value"),
        ):
            if counts:
                told = [f"{text} ({count})" for text, count in counts.items()]
                parts.append(f"{what}: {listed(told)}")
        for words, what in (
            (self.ambiguous, "ambiguous"),
            (self.no_token, "no single token"),
            (self.other_case, "a token in another case alone"),
        ):
            if words:
                number = "1 word" if len(words) == 1 else f"{len(words)} words"
                parts.append(f"{number} {what}: {listed(words)}")
        return parts


@dataclass(frozen=True)
class Column:
    """One attribute, before rare values are dropped."""

    values: Sequence[str | None]
    """The value of each row; None where it has none."""
    left_out: LeftOut = field(default_factory=LeftOut)
    """What it lacks already."""


@dataclass(frozen=True)
class Coverage(LeftOut):
    """How much of a table's rows an attribute labels; printed, it says so in words."""

    rows: int = 0
    """How many the table has."""
    labelled: int = 0
    """How many of them have a value."""

    @property
    def share(self) -> float:
        """The share of rows that are labelled."""
        return self.labelled / self.rows

    def __str__(self) -> str:
        """Such as `120 rows labelled (6 %); dropped below min_count: noun.food (3)`."""
        labelled = f"{self.labelled} rows labelled ({100 * self.share:.0f} %)"
        return "; ".join([labelled, *self.in_words()])


def common_values(
    columns: Mapping[str, Column], min_count: int
) -> tuple[dict[str, Column], dict[str, LeftOut]]:
    """Drop values with few rows, then attributes with fewer than two values.

    Args:
        columns: the attributes.
        min_count: fewest rows of a value that stays.

    Returns:
        The values of the attributes that are left, and what each attribute lost, those that are
        gone included.

    Raises:
        ValueError: if no attribute is left; the message says what each of them had.
    """
    if min_count < 1:
        raise ValueError(f"min_count must be 1 or more; got {min_count}.")
    kept, left_out, lost = {}, {}, []
    for name, column in columns.items():
        counts = Counter(value for value in column.values if value is not None)
        common = {value for value, count in counts.items() if count >= min_count}
        rare = {value: count for value, count in counts.items() if value not in common}
        left_out[name] = replace(column.left_out, dropped=rare)
        if len(common) > 1:
            kept[name] = Column([value if value in common else None for value in column.values])
        else:
            told = [f"{value} ({count})" for value, count in counts.most_common()]
            why = "; ".join(replace(left_out[name], dropped={}).in_words())
            lost.append(f"'{name}' has {listed(told)}{why and f' ({why})'}")
    if not kept:
        more = f"; and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise ValueError(
            f"no attribute has two values of min_count={min_count} rows or more: "
            f"{'; '.join(lost[:_SHOWN])}{more}."
        )
    return kept, left_out


def coverages(
    labelled: Mapping[str, int], left_out: Mapping[str, LeftOut], rows: int
) -> dict[str, Coverage]:
    """The coverage of each attribute, those that are not in the table included.

    Args:
        labelled: how many rows each attribute of the table labels.
        left_out: what attributes lack.
        rows: how many the table has.
    """
    lost = LeftOut()
    return {
        name: Coverage(**vars(left_out.get(name, lost)), rows=rows, labelled=labelled.get(name, 0))
        for name in dict.fromkeys((*labelled, *left_out))
    }


def described(values: Mapping[str, Sequence[str]], coverage: Mapping[str, Coverage]) -> str:
    """A line for each attribute: its values, if it is in the table, and its coverage."""
    lines = []
    for name, told in coverage.items():
        if name not in values:
            lines.append(f"  {name}: left out, fewer than 2 values; {told}")
            continue
        shown = ", ".join(values[name][:_SHOWN])
        more = ", ..." if len(values[name]) > _SHOWN else ""
        lines.append(f"  {name}: {len(values[name])} values ({shown}{more}), {told}")
    return "\n".join(lines)


def listed(names: Sequence[str]) -> str:
    """The first of the names, and how many there are more."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest or "none"
