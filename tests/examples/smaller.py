"""An example, as a user runs it, but with smaller constants: `python -m tests.examples.smaller`.

Which one is in the environment, so that the processes that it starts, to which this is the main
module as well, have the same constants. What a test looks at does not depend on them.
"""

import importlib
import os
import sys
from dataclasses import replace
from functools import partial

from tests.examples.scripts import FOLDER, SMALLER


def detector(script):
    script.chance_table = partial(script.chance_table, draws=20_000)


def preserve(script):
    script.DRAWS = 3


def steer(script):
    script.RANDOM = 1


def stdlib_lm(script):
    script.VOCABULARY["text"] = 600
    script.CAPTURE["growth"] = 1.4
    script.StdlibData = partial(script.StdlibData, batch_size=4)


def predicted_order(script):
    script.VOCABULARY["text"] = 600


def gpt2_scale(script):
    script.QUICK = replace(script.QUICK, vocabulary=400, width=16, heads=2, megabytes=0.3)
    script.KEPT_EVERY = 5


if __name__ in ("__main__", "__mp_main__"):
    sys.path.insert(0, str(FOLDER))
    name = os.environ[SMALLER]
    script = importlib.import_module(name)
    globals()[name](script)
    if __name__ == "__main__":
        script.main()
