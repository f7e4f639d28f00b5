"""Does a figure that knows no attribute peak where the mean gap of the attributes does?

    python examples/peak_without_attributes.py    # three settings and Python source: 12 minutes
    python examples/peak_without_attributes.py --settings factored --seeds 0    # a quick look
    # English as well: WordNet's own glosses, see docs/results/language-model.md
    python examples/peak_without_attributes.py --text glosses.txt --wordnet /usr/share/wordnet

Seeds 0 to 2 are those that the figure was chosen on, 10 to 12 are fresh. Each run leaves its curves
in a file under --out; one that is there is not run again.
"""

import lightning.pytorch as pl
import numpy as np
import torch
from many_runs import jobs_of, markdown, parser_of, quiet_trainer, run_all, spread, tell
from stdlib_lm import VOCABULARY, attributes, bands_of, token_counts

from lightning_semgeom import attribute_similarity, cosine_third_moment, spectrum
from lightning_semgeom.capture.schedule import Schedule
from lightning_semgeom.geometry.third_moment import most_frequent
from lightning_semgeom.settings.controlled import network_setting
from lightning_semgeom.settings.stdlib import StdlibData, StdlibModel

STEPS = {"factored": 200, "latent": 200, "pictures": 200, "python": 600, "text": 800}
CHOSEN, FRESH = (0, 1, 2), (10, 11, 12)
GROWTH, EVERY = 1.05, 50  # captures are close: a peak is told to a twentieth
FROM = 5  # steps: before, weights are those that were drawn
NEAR = 0.2


def unit(rows):
    """Centred rows at unit length."""
    return torch.nn.functional.normalize(rows - rows.mean(0))


def without_leading(rows):
    """Asymmetry of the directions but for the leading one."""
    directions = unit(rows)
    values = torch.linalg.eigvalsh(directions.T @ directions)[:-1]
    even = 1 / len(values)
    return (values.square().sum() / values.sum().square() - even) / (1 - even)


def within_bands(rows, counts):
    """Rows less the mean of all that are about as frequent."""
    bands = bands_of(counts)
    return rows - torch.stack([rows[bands == band].mean(0) for band in bands.unique()])[bands]


def nearest(rows, most=5):
    """The mean cosine of each row with its nearest few."""
    directions = unit(rows)
    cosines = (directions @ directions.T).fill_diagonal_(-1)
    return cosines.topk(most).values.mean()


def asymmetry(rows):
    """That of `spectrum`."""
    return spectrum(rows)["asymmetry"]


def figures(rows, counts):
    """What was tried, by name."""
    often = rows[most_frequent(counts, len(rows), 0.7)]
    moments = {
        f"third moment, {share:.0%} of the text": cosine_third_moment(rows, counts, share)
        for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    }
    return {
        "asymmetry": asymmetry(rows),
        "asymmetry without the leading direction": without_leading(rows),
        "asymmetry within bands of frequency": asymmetry(within_bands(rows, counts)),
        "asymmetry, 70% of the text": asymmetry(often),
        "the same without the leading direction": without_leading(often),
        "cosine of the nearest five": nearest(rows),
        "the same, 70% of the text": nearest(often),
        "the same, within bands of frequency": nearest(within_bands(rows, counts)),
        **moments,
    }


class Watch(pl.Callback):
    """The mean gap and all figures at each capture."""

    def __init__(self, table, counts):
        self.table, self.counts = table, counts
        self.schedule = Schedule(EVERY, GROWTH)
        self.steps, self.gaps, self.found = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Those of the weights after this step."""
        step = trainer.global_step
        if step < FROM or not self.schedule.is_due(step):
            return
        head = next(m for n, m in pl_module.named_modules() if n.endswith("lm_head"))
        rows = head.weight.detach()[: len(self.table)].double()
        gap = attribute_similarity(rows, self.table, null=False)["gap"]
        self.steps.append(step)
        self.gaps.append(float(gap.nanmean()))
        found = figures(rows.float(), self.counts)
        self.found.append({name: float(one) for name, one in found.items()})


def made(name, steps, seed, text, wordnet):
    """Model, data, table, how often each token is in the training text, and the clip."""
    if name not in ("python", "text"):
        setting = network_setting(name, seed)
        every = torch.ones(len(setting.table))
        return setting.model, setting.data, setting.table, every, setting.clip
    text, wordnet = (text, wordnet) if name == "text" else (None, None)
    data = StdlibData(steps, VOCABULARY["stdlib"], seed=seed, text=text)
    tokens = data.tokenizer.get_vocab_size()
    counts = token_counts(data, tokens)
    table = attributes(data, text, wordnet)
    return StdlibModel(tokens, steps, seed=seed), data, table, counts[: len(table)], 1.0


def collect(name, seed, steps, text, wordnet, file):
    """The curves of one run."""
    model, data, table, counts, clip = made(name, steps, seed, text, wordnet)
    watch = Watch(table, counts)
    quiet_trainer(steps, watch, gradient_clip_val=clip).fit(model, data)
    curves = {name: [found[name] for found in watch.found] for name in watch.found[0]}
    np.savez(file, steps=watch.steps, gap=watch.gaps, **curves)


def peaks_of(file):
    """The step of the mean gap's peak, and how far from it each figure has its own, as a ratio."""
    curves = dict(np.load(file))
    steps = curves.pop("steps")
    peak = steps[curves.pop("gap").argmax()]
    return peak, {name: steps[curve.argmax()] / peak for name, curve in curves.items()}


def table_of(files, settings):
    """Each figure's peak over that of the mean gap: median and range by setting, and hits."""
    of = {name: [peaks_of(file) for n, file in files if n == name] for name in settings}
    steps = [spread([float(peak) for peak, _ in of[name]], 0) for name in settings]
    lines = [["step of the mean gap's peak", *steps, ""]]
    for figure in next(iter(of.values()))[0][1]:
        ratios = {name: [found[figure] for _, found in of[name]] for name in settings}
        every = [ratio for found in ratios.values() for ratio in found]
        hits = sum(abs(ratio - 1) <= NEAR for ratio in every)
        cells = [spread(ratios[name]) for name in settings]
        lines.append([figure, *cells, f"{hits} of {len(every)}"])
    return markdown(["peak / that of the mean gap", *settings, "within 20 %"], lines)


def main():
    """Collect what is missing, then tell how near each figure comes."""
    parser = parser_of(__doc__, "peak_without_attributes", STEPS, seeds=(*CHOSEN, *FRESH))
    parser.add_argument("--text", help="train on this file, too")
    parser.add_argument("--wordnet", metavar="DIR", help="folder of a WordNet database")
    options = parser.parse_args()
    options.settings = [name for name in options.settings if name != "text" or options.text]
    jobs = [(*run, options.text, options.wordnet, file) for *run, file in jobs_of(options, STEPS)]
    run_all(collect, jobs)
    tables = []
    for what, seeds in (("chosen on", CHOSEN), ("fresh", FRESH)):
        files = [(job[0], job[-1]) for job in jobs if job[1] in seeds]
        if files:
            numbers = sorted({job[1] for job in jobs if job[1] in seeds})
            told = f"Seeds {', '.join(map(str, numbers))} ({what}):"
            tables.append("\n".join([told, "", *table_of(files, options.settings)]))
    tell("\n\n".join(tables), options.out)


if __name__ == "__main__":
    main()
