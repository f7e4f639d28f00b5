"""The example with transformers' own Trainer."""

import pytest

from lightning_semgeom import History
from tests.examples import scripts


@pytest.mark.processes
def test_a_record_every_few_steps_and_the_gap_grows(tmp_path):
    text = scripts.run("hf_trainer", "--steps", "50", cwd=tmp_path)
    history = History.load(tmp_path / "runs/hf_trainer/semgeom")
    assert [record.step for record in history] == [0, 20, 40, 50]
    assert history.sites == ["unembedding", "hidden.transformer.ln_f"]
    _, gaps = history.curve("semgeom_unembedding/gap/kind")
    assert gaps[0] < 0.03 < 0.05 < gaps[-1]
    assert f"step   50: gap of letters and digits {gaps[-1]:.3f}" in text
    assert history.picture_steps("hidden.transformer.ln_f") == [0, 20, 40, 50]


def test_the_callback_is_short():
    assert len((scripts.FOLDER / "hf_trainer.py").read_text().splitlines()) <= 60
