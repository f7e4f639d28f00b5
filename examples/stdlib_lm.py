"""The run of `make demo` made thorough: which attributes emerge, in which order, layer by layer.

    python examples/stdlib_lm.py                  # the standard library, five seeds
    python examples/stdlib_lm.py --quick          # one seed, 400 steps
    python examples/stdlib_lm.py --text glosses.txt --wordnet /usr/share/wordnet    # other text

Attributes are what tokens are in Python (of a --text: none), what they look like, with --wordnet
their supersense, and how frequent they are: four bands of equally many tokens by their count in the
text that is trained on. Each gap is also taken within these bands, so that nobody takes frequency
for meaning. Sites are the embedding, each hidden layer and the unembedding. Hidden states are those
of four random batches, or with --cover of windows that cover the table. A run that is finished is
not run again.
"""

from pathlib import Path

import torch
from many_runs import parser_of, quiet_trainer, run_all, tell
from stdlib_lm_tables import Run, draw, tables

from lightning_semgeom import AttributeTable, SemanticGeometry, probe_from
from lightning_semgeom.settings.documents import read_stdlib, read_text
from lightning_semgeom.settings.stdlib import StdlibModel
from lightning_semgeom.settings.stdlib_text import StdlibData

VOCABULARY = {"stdlib": 2048, "text": 4096}
BANDS = ("rarest quarter", "third quarter", "second quarter", "most frequent quarter")
MIN_COUNT = 5  # tokens of a value in a band
PER_VALUE = 24  # tokens of a value in a probe that covers the table
CAPTURE = {
    "embedding": True,
    "hidden": ("gpt.transformer.h.*", "gpt.transformer.ln_f"),
    "shift_labels": True,
    "every_n_steps": 50,
}


def attributes(data, text, wordnet):
    """What is known of the tokens, without their frequency."""
    tokenizer = data.tokenizer
    found = [AttributeTable.surface(tokenizer)]
    if text is None:
        found.insert(0, AttributeTable.python_tokens(tokenizer))
    if wordnet is not None:
        found.append(AttributeTable.wordnet(tokenizer, wordnet))
    return found[0].joined(*found[1:])


def token_counts(data, tokens):
    """How often each token is in the training windows, `[tokens]`."""
    counts = torch.zeros(tokens, dtype=torch.int64)
    for batch in data.train_dataloader():
        counts += torch.bincount(batch["input_ids"].flatten(), minlength=tokens)
    return counts


def frequency_bands(data, tokens):
    """Four bands of equally many tokens by their count in the training windows, `[tokens]`."""
    return bands_of(token_counts(data, tokens))


def bands_of(counts):
    """Four bands of equally many tokens by their `counts` `[tokens]`."""
    ranks = counts.argsort(stable=True).argsort()
    return ranks * len(BANDS) // len(counts)


def within_bands(table, bands):
    """Each attribute anew in each band, `kind in band 3`, where two values or more are left."""
    columns, names, values = [], [], []
    for a, name in enumerate(table.names):
        for band in range(len(BANDS)):
            codes = table.codes[:, a].masked_fill(bands != band, -1)
            counts = torch.bincount(codes[codes >= 0], minlength=len(table.values[a]))
            codes[(codes >= 0) & (counts[codes] < MIN_COUNT)] = -1
            if (counts >= MIN_COUNT).sum() > 1:
                columns.append(codes)
                names.append(f"{name} in band {band}")
                values.append(table.values[a])
    return AttributeTable(torch.stack(columns, 1), tuple(names), tuple(values))


def with_frequency(known, bands):
    """What is known of the tokens, and their bands as an attribute more."""
    return known.joined(AttributeTable(bands[:, None], ("frequency",), (BANDS,)))


def watched(table, in_bands, seed, **capture):
    """The callbacks: attributes, the same within bands of frequency, and a control."""
    tables = {
        "semgeom": table,
        "semgeom_bands": in_bands,
        "semgeom_control": table.shuffled(seed),
    }
    return [SemanticGeometry(found, name=name, **capture) for name, found in tables.items()]


def probe_of(data, table, text, cover):
    """Four random batches, or windows of the text that cover the table."""
    if not cover:
        return data.probe_dataloader()
    documents = read_stdlib() if text is None else read_text(Path(text))
    return probe_from(
        documents, data.tokenizer, table, per_value=PER_VALUE, context=64, shift_labels=True
    )


def run(seed, steps, text, wordnet, cover, done):
    """One run, in the folder of the file `done`."""
    folder = done.parent
    vocabulary = VOCABULARY["stdlib" if text is None else "text"]
    data = StdlibData(steps, vocabulary, seed=seed, text=text)
    tokens = data.tokenizer.get_vocab_size()
    bands = frequency_bands(data, tokens)
    known = attributes(data, text, wordnet)
    table = with_frequency(known, bands)
    probe = probe_of(data, table, text, cover)
    callbacks = watched(table, within_bands(known, bands), seed, probe=probe, **CAPTURE)
    trainer = quiet_trainer(steps, *callbacks, gradient_clip_val=1.0, default_root_dir=folder)
    model = StdlibModel(tokens, steps, seed=seed)
    trainer.fit(model, data)
    (folder / "attributes.txt").write_text(f"{table}\n")
    done.write_text(f"{float(trainer.callback_metrics['train_loss'])}\n")


def main():
    """Run what is missing, then tell of all."""
    parser = parser_of(__doc__, "stdlib_lm", steps=3000)
    parser.add_argument("--quick", action="store_true", help="one seed and 400 steps")
    parser.add_argument("--text", help="train on this file instead of the standard library")
    parser.add_argument("--wordnet", metavar="DIR", help="folder of a WordNet database")
    parser.add_argument("--cover", action="store_true", help="a probe that covers the table")
    if parser.parse_args().quick:
        parser.set_defaults(seeds=[0], steps=400)
    options = parser.parse_args()
    corpus = "stdlib" if options.text is None else Path(options.text).stem
    supersense = "" if options.wordnet is None else "-supersense"
    probe = "-cover" if options.cover else ""
    out = options.out / f"{corpus}{supersense}{probe}-{options.steps}"
    jobs = [
        (seed, options.steps, options.text, options.wordnet, options.cover, out / name / "done")
        for seed, name in ((seed, f"seed{seed}") for seed in options.seeds)
    ]
    run_all(run, jobs)
    runs = [Run(done.parent) for *_, done in jobs]
    draw(runs, figure := out / "stdlib_lm.png")
    shown = "seed0" if 0 in options.seeds else f"seed{options.seeds[0]}"
    print((out / shown / "attributes.txt").read_text())
    tell("\n".join(tables(runs)), out, figure)


if __name__ == "__main__":
    main()
