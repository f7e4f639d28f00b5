"""What the scripts with many runs share: options, quiet Trainers, two processes, and tables."""

import argparse
import itertools
import logging
import statistics
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from math import sqrt
from multiprocessing import get_context
from pathlib import Path

import lightning.pytorch as pl
import torch
from tqdm import tqdm


def parser_of(doc, name, settings=(), steps=None, seeds=range(5)):
    """A parser of what each script is asked: which settings and seeds, how long, and where to.

    Args:
        doc: the script's own text, whose first line says what it does.
        name: of its folder in `runs`.
        settings: what there is to choose from; all are run unless some are named.
        steps: of each run; None: as many as its setting has.
        seeds: which are run unless some are named.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[*seeds])
    if settings:
        parser.add_argument("--settings", nargs="+", choices=[*settings], default=[*settings])
    of_setting = "the setting's" if steps is None else steps
    parser.add_argument(
        "--steps", type=int, default=steps, help=f"of each run (default: {of_setting})"
    )
    parser.add_argument("--out", type=Path, default=Path("runs", name))
    return parser


def jobs_of(options, steps):
    """Setting, seed, steps and file of each run; `steps`: how long a setting's is by default."""
    jobs = []
    for name, seed in itertools.product(options.settings, options.seeds):
        length = options.steps or steps[name]
        jobs.append((name, seed, length, options.out / f"{name}-{length}-{seed}.npz"))
    return jobs


def is_near(step, true):
    """Whether `step`, None if there is none, is within 30 % of the true one."""
    return step is not None and abs(step - true) <= 0.3 * true


def tell(text, folder, *files):
    """Leave what was found in `folder/table.md`, print it, and say where it and `files` are."""
    table = folder / "table.md"
    table.write_text(f"{text}\n")
    print(text, "", table, *files, sep="\n")


def quiet_trainer(steps, *callbacks, **options):
    """A Trainer on the CPU that says and writes nothing of its own."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch|lightning\.fabric")
    silent = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(
        max_steps=steps, accelerator="cpu", callbacks=list(callbacks), **(silent | options)
    )


def last_rows(model, batch, site):
    """What the module called `site` gives at the last position of each context, `[n, d]`."""
    given = []
    hook = model.get_submodule(site).register_forward_hook(lambda *call: given.append(call[2]))
    model(batch)
    hook.remove()
    return given[0][:, -1]


def run_all(work, jobs):
    """Call `work(*job)` in two processes of one thread each, with a progress bar.

    The last argument of a job is the file that `work` leaves its answer in; where that is there
    already, it is not done again.
    """
    missing = [job for job in jobs if not job[-1].exists()]
    for *_, file in missing:
        file.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(
        2, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        submitted = [pool.submit(work, *job) for job in missing]
        for done in tqdm(as_completed(submitted), total=len(submitted), unit="run"):
            done.result()


def markdown(head, lines):
    """The lines of a table."""
    first, *rest = ("| " + " | ".join(cells) + " |" for cells in (head, *lines))
    return [first, "|---" * len(head) + "|", *rest]


def spread(values, digits=2):
    """Median and range; of one value, that."""
    values = sorted(values)
    found = statistics.median(values), values[0], values[-1]
    middle, low, high = (f"{round(value, digits) + 0.0:.{digits}f}" for value in found)  # no -0.00
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def paired_difference(ours, theirs, digits=2):
    """Mean of the differences seed by seed, with its 95 % interval (Student's t)."""
    from scipy.stats import t

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = round(statistics.mean(differences), digits) + 0.0  # no -0.00
    if len(differences) < 2:
        return f"{mean:+.{digits}f}"
    error = statistics.stdev(differences) / sqrt(len(differences))
    interval = t.ppf(0.975, len(differences) - 1) * error
    return f"{mean:+.{digits}f} ± {interval:.{digits}f}"
