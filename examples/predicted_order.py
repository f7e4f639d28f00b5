"""Can the corpus alone say in which order attributes emerge? No model is trained.

    python examples/predicted_order.py            # two settings and the standard library: a minute
    python examples/predicted_order.py --quick    # a tenth of the corpus
    # Other text, and what stdlib_lm.py has measured on it:
    python examples/predicted_order.py --text glosses.txt --wordnet /usr/share/wordnet
        --measured examples/tables/stdlib_lm_text.md

It needs scipy: pip install 'lightning-semgeom[corpus]'. What was measured is read from the tables
that transience.py and stdlib_lm.py have left; text, tokens and attributes are those of their runs.
Each notion of a context is shown, whether it predicts something or not.
"""

from pathlib import Path

import torch
from many_runs import markdown, parser_of, spread, tell
from scipy.stats import spearmanr
from stdlib_lm import VOCABULARY, attributes, frequency_bands, with_frequency
from tqdm import tqdm

from lightning_semgeom import attribute_similarity, predicted_order, support_matrix
from lightning_semgeom.settings import factored, latent
from lightning_semgeom.settings.stdlib_text import StdlibData

TABLES = Path(__file__).parent / "tables"
CONTEXTS = {
    "the last token": 1,
    "the last 2": 2,
    "the last 3": 3,
    "any token before": "tokens",
}
DIRECTIONS = 32
# Singular values down to which directions are learned; those that are the same come together.
LEARNED = (10, 5, 4, 3, 2, 0)


def settings(seeds):
    """Windows [tokens, label], table and vocabulary of each setting and seed."""
    one = factored.factored_tokens(), factored.factored_attributes(), factored.VOCABULARY
    table = latent.latent_attributes()
    found = {
        "S1 factored": [one],
        "S2 latent": [(latent.latent_tokens(seed), table, latent.VOCABULARY) for seed in seeds],
    }
    return {
        name: [(torch.cat([c, torch.arange(len(c))[:, None]], 1), *rest) for c, *rest in of_seeds]
        for name, of_seeds in found.items()
    }


def rows_of(file):
    """The cells of each line of its tables."""
    lines = file.read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def settings_table(seeds):
    """Strengths in the settings beside the onsets that transience.py has measured."""
    # Its second table: setting, attribute, values, kappa, rank, onset and so on.
    rows = rows_of(TABLES / "transience.md")
    measured = {(row[0], row[1]): row[5] for row in rows if len(row) == 9}
    lines = []
    for name, given in settings(seeds).items():
        found = [
            [
                predicted_order(table, support_matrix([windows], vocabulary, contexts))
                for windows, table, vocabulary in given
            ]
            for contexts in CONTEXTS.values()
        ]
        for attribute in given[0][1].names:
            strengths = ([order.strength[attribute] for order in of] for of in found)
            lines.append([name, attribute, measured[name, attribute], *map(spread, strengths)])
    return markdown(["setting", "attribute", "onset: step", *CONTEXTS], lines)


def learned_table(seeds):
    """Gaps in the settings of the unembedding that is told, while its directions are learned."""
    lines = []
    for name, given in settings(seeds).items():
        found = [
            learned(
                predicted_order(table, support_matrix([windows], vocabulary), vocabulary), table
            )
            for windows, table, vocabulary in given
        ]
        for a, attribute in enumerate(given[0][1].names):
            of_counts = torch.stack(found)[:, a].T.tolist()
            lines.append([name, attribute, *map(spread, of_counts)])
    heads = [f"above {least}" for least in LEARNED[:-1]]
    return markdown(["directions learned", "attribute", *heads, "all"], lines)


def learned(order, table):
    """The gap of each attribute with the directions down to each of `LEARNED`, `[A, 6]`."""
    unembedding = (order.directions * order.singular_values.sqrt())[: len(table)]
    counts = [int((order.singular_values > least).sum()) for least in LEARNED]
    gaps = [attribute_similarity(unembedding[:, :count], table)["gap"] for count in counts]
    return torch.stack(gaps, 1)


def predictions(data, table):
    """For each kind of context what it predicts of the attributes of the corpus's tokens."""
    return {
        told: predicted_order(
            table, support_matrix(data.train_dataloader(), len(table), contexts), DIRECTIONS
        )
        for told, contexts in tqdm(CONTEXTS.items(), unit="kind of context")
    }


def strengths_table(orders, names, file):
    """Strengths in a corpus beside the onsets in `file` that stdlib_lm.py has measured."""
    # Its second table: attribute, onset, rank, peak, rank.
    onsets = {row[0]: row[1:3] for row in rows_of(file) if len(row) == 5}
    names = sorted(names, key=lambda name: number(onsets[name][1]))
    lines = [
        [name, *onsets[name], *(strength_told(order, name) for order in orders.values())]
        for name in names
    ]
    ranks = [number(onsets[name][1]) for name in names]
    agree = [
        correlation(ranks, [-order.strength[name] for name in names]) for order in orders.values()
    ]
    lines.append(["rank correlation with the onsets", "", "", *agree])
    return markdown(["in the unembedding", "onset: step", "rank", *CONTEXTS], lines)


def strength_told(order, name):
    """The strength, how much more it is than by chance, and its place."""
    strength, place = order.strength[name], [*order.strength].index(name) + 1
    return f"{strength:.0f}, {strength / order.by_chance[name]:.1f} x chance, {place}."


def gaps_table(orders, table, file):
    """Gaps of the unembedding that is told beside the largest in `file`, in the real one."""
    # Its first table: site, attribute, onset, peak: step, gap: start, peak and so on.
    largest = {row[1]: row[5] for row in rows_of(file) if row[0] == "unembedding"}
    names = sorted(table.names, key=lambda name: -number(largest[name]))
    told = []
    for order in orders.values():
        unembedding = order.directions * order.singular_values.sqrt()
        gaps = attribute_similarity(unembedding, table)["gap"].tolist()
        told.append(dict(zip(table.names, gaps, strict=True)))
    lines = [[name, largest[name], *(f"{gaps[name]:+.2f}" for gaps in told)] for name in names]
    top = [number(largest[name]) for name in names]
    agree = [correlation(top, [gaps[name] for name in names]) for gaps in told]
    lines.append(["rank correlation with the largest gaps", "", *agree])
    return markdown(["gap", "measured: largest", *CONTEXTS], lines)


def number(cell):
    """Its median."""
    return float(cell.split()[0])


def correlation(measured, predicted):
    """Spearman's, and how often chance has one as far from 0."""
    found = spearmanr(measured, predicted)
    return f"{found.statistic:+.2f} (p {found.pvalue:.2f})"


def main():
    """Count, predict, and tell it beside what was measured."""
    parser = parser_of(__doc__, "predicted_order", steps=3000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the corpus")
    parser.add_argument("--text", help="a file in place of the standard library")
    parser.add_argument("--wordnet", metavar="DIR", help="folder of a WordNet database")
    parser.add_argument("--measured", type=Path, default=TABLES / "stdlib_lm.md")
    if parser.parse_args().quick:
        parser.set_defaults(steps=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    vocabulary = VOCABULARY["stdlib" if options.text is None else "text"]
    data = StdlibData(options.steps, vocabulary, seed=options.seeds[0], text=options.text)
    known = attributes(data, options.text, options.wordnet)
    table = with_frequency(known, frequency_bands(data, len(known)))
    known_there = {cell for row in rows_of(options.measured) for cell in row[:1]}
    if missing := {*table.names} - known_there:
        parser.error(
            f"{options.measured} has no onset of {', '.join(sorted(missing))}: give --measured a "
            "table that stdlib_lm.py has left of this text."
        )
    orders = predictions(data, table)
    lines = []
    if options.text is None:
        lines = [*settings_table(options.seeds), "", *learned_table(options.seeds), ""]
    lines += [*strengths_table(orders, table.names, options.measured), ""]
    tell("\n".join([*lines, *gaps_table(orders, table, options.measured)]), options.out)


if __name__ == "__main__":
    main()
