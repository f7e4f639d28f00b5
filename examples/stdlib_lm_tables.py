"""What the runs of stdlib_lm.py left: attributes at each site, their order, layers, a figure."""

from math import ceil, inf, nan

import numpy as np
from many_runs import markdown, spread
from transience_tables import ranked, shade, steps_told

from lightning_semgeom import History
from lightning_semgeom.record.summary import known_gaps, summaries
from lightning_semgeom.show.plots.style import COLOURS, GREY, new_figure

SHORT = {
    "embedding": "embedding",
    "hidden.gpt.transformer.h.0": "layer 1",
    "hidden.gpt.transformer.h.1": "layer 2",
    "hidden.gpt.transformer.ln_f": "last norm",
    "unembedding": "unembedding",
}
"""The sites, from the input to the output."""
MOST_COLUMNS = 5  # of panels in a row
COLUMNS = (
    "site", "attribute", "onset", "peak: step", "gap: start", "peak", "end", "kept", "z at peak",
    "in bands: at peak", "end", "faded",
)  # fmt: skip


class Run:
    """What a finished run left."""

    def __init__(self, folder):
        self.history = History.load(folder / "semgeom")
        self.bands = History.load(folder / "semgeom_bands")
        self.control = History.load(folder / "semgeom_control")
        self.found = {(s.site, s.attribute): s for s in summaries(self.history)}
        self.loss = float((folder / "done").read_text())

    def gaps(self, site, attribute):
        """Gaps by step."""
        return known_gaps(self.history, site, f"gap/{attribute}")

    def top_step(self, site, attribute):
        """The step of the largest gap."""
        gaps = self.gaps(site, attribute)
        return max(gaps, key=lambda step: gaps[step])

    def in_bands(self, site, attribute, step):
        """The gap within bands of frequency, mean over those that have two values of it."""
        record = next(record for record in self.bands if record.step == step)
        found = [
            record.values[self.bands.key(site, f"gap/{name}")]
            for name in self.bands.attributes(site)
            if name.startswith(f"{attribute} in band")
        ]
        return float(np.nanmean(found)) if found else nan

    def onset(self, site, attribute):
        """The step of the onset, or infinity."""
        found = self.found.get((site, attribute))
        step = None if found is None else found.milestones.onset_step
        return inf if step is None else step


def attributes_of(runs):
    """What tokens mean, then what they look like, as in the runs."""
    found = runs[0].history.attributes("unembedding")
    return sorted(found, key=lambda attribute: attribute != "supersense")


def tables(runs, sites=SHORT):
    """All figures as Markdown: by site and attribute, the order, layers, and the controls.

    Args:
        runs: of the same sites and attributes.
        sites: what to call each, from the input to the output.
    """
    attributes = attributes_of(runs)
    lines = [
        line(runs, site, name, attribute)
        for site, name in sites.items()
        for attribute in attributes
        if all((site, attribute) in run.found for run in runs)  # hidden rows may lack its values
    ]
    controls = [summary for run in runs for summary in summaries(run.control)]
    alarms = sum(summary.milestones.onset_step is not None for summary in controls)
    return [
        *markdown(COLUMNS, lines),
        "",
        *order(runs, attributes),
        "",
        *layers(runs, attributes, sites),
        "",
        f"Shuffled attributes: {alarms} of {len(controls)} curves have an onset; largest gap "
        f"{max(summary.top for summary in controls):.3f}. "
        f"Training loss at the end: {spread([run.loss for run in runs])}.",
    ]


def line(runs, site, name, attribute):
    """One attribute at the site that is called `name`, over seeds."""
    found = [run.found[site, attribute] for run in runs]
    tops = [run.top_step(site, attribute) for run in runs]
    ends = [run.history.records[-1].step for run in runs]
    top_gaps = [run.gaps(site, attribute)[top] for run, top in zip(runs, tops, strict=True)]
    # Of what never rose out of the noise nothing can be kept.
    kept = [
        summary.end / top
        for summary, top in zip(found, top_gaps, strict=True)
        if summary.milestones.onset_step is not None
    ]
    faded = sum(summary.milestones.peak_step is not None for summary in found)
    inside = ["-", "-"]
    if attribute != "frequency":
        inside = [
            spread(
                [run.in_bands(site, attribute, step) for run, step in zip(runs, at, strict=True)]
            )
            for at in (tops, ends)
        ]
    return [
        name,
        attribute,
        steps_told([run.onset(site, attribute) for run in runs]),
        spread(tops, 0),
        spread([summary.start for summary in found]),
        spread(top_gaps),
        spread([summary.end for summary in found]),
        spread(kept) if kept else "-",
        spread([summary.z_at_top for summary in found], 1),
        *inside,
        f"{faded} of {len(runs)}",
    ]


def order(runs, attributes):
    """Which attribute emerges first in the unembedding, and which peaks first."""
    onsets = [[run.onset("unembedding", a) for a in attributes] for run in runs]
    tops = [[run.top_step("unembedding", a) for a in attributes] for run in runs]
    head = ("in the unembedding", "onset: step", "rank", "largest gap: step", "rank")
    return markdown(
        head, ([a, *ranked(onsets, k), *ranked(tops, k)] for k, a in enumerate(attributes))
    )


def layers(runs, attributes, sites):
    """Where each attribute emerges first."""
    lines = []
    for attribute in attributes:
        onsets = {site: [run.onset(site, attribute) for run in runs] for site in sites}
        earliest = [min(of_seed) for of_seed in zip(*onsets.values(), strict=True)]
        first = [
            f"{sites[site]} ({count})"
            for site, of_site in onsets.items()
            if (count := sum(a == b < inf for a, b in zip(of_site, earliest, strict=True)))
        ]
        lines.append([attribute, *map(steps_told, onsets.values()), ", ".join(first) or "none"])
    return markdown(["onset: step", *sites.values(), "first in (seeds)"], lines)


def draw(runs, out, sites=SHORT):
    """A panel a site: the gap of each attribute, median over seeds and range; the control grey."""
    attributes = attributes_of(runs)
    rows = ceil(len(sites) / MOST_COLUMNS)
    columns = ceil(len(sites) / rows)
    figure = new_figure(3.4 * columns, 4.2 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (site, name) in zip(axes.flat, sites.items(), strict=False):
        axis.set_title(name)
        for run in runs:
            for attribute in attributes:
                curve = run.control.curve(run.control.key(site, f"gap/{attribute}"))
                axis.plot(curve[0] + 1, curve[1], ":", color=GREY, linewidth=0.6)
        for number, attribute in enumerate(attributes):
            curves = [run.history.curve(run.history.key(site, f"gap/{attribute}")) for run in runs]
            shade(axis, curves, COLOURS[number % len(COLOURS)])
            axis.lines[-1].set_label(attribute)
            axis.lines[-1].set_linestyle("-" if number < len(COLOURS) else "--")
        axis.set_xscale("log")
        axis.grid(True, color="#EEEEEE")
    for axis in axes[-1]:
        axis.set_xlabel("optimizer steps + 1")
    for axis in axes[:, 0]:
        axis.set_ylabel("gap (cosine)")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(out)
