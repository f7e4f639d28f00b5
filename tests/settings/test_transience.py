"""What the settings are for: structure emerges early and decays, and never in the control."""

import pytest

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.settings.controlled import NETWORKS, network_setting
from tests import models

STEPS = {"factored": 230, "latent": 160, "pictures": 195}  # until half of the gap is gone


@pytest.mark.parametrize("name", NETWORKS)
def test_structure_emerges_early_and_decays_and_the_control_does_not(tmp_path, name):
    made = network_setting(name, seed=0)
    geometry, control = (
        SemanticGeometry(table, name=root, every_n_steps=40, growth=1.5, **made.capture)
        for table, root in ((made.table, "semgeom"), (made.table.shuffled(0), "control"))
    )
    trainer = models.trainer(tmp_path, geometry, control, max_steps=STEPS[name])
    trainer.fit(made.model, made.data)
    for site, earliest in (("unembedding", 20), ("hidden.final_norm", 5)):
        steps, gaps = geometry.history.curve(geometry.history.key(site, "gap"))
        steps, gaps = steps[gaps == gaps], gaps[gaps == gaps]
        assert 0.15 <= gaps.max() <= 0.6
        assert earliest <= steps[gaps.argmax()] <= 65
        assert gaps[-1] < 0.5 * gaps.max()
        assert (geometry.history.curve(geometry.history.key(site, "rows"))[1] == 64).any()
    _, weights = geometry.history.curve("semgeom_unembedding/gap")
    assert abs(weights[0]) < 0.03
    emerged = [d.onset_step for (site, _), d in geometry.phases.items() if site == "unembedding"]
    assert any(step is not None for step in emerged)
    assert all(detector.onset_step is None for detector in control.phases.values())
    for (site, attribute), detector in geometry.phases.items():
        assert geometry.history.milestones(site, attribute).peak_step == detector.peak_step
    last = geometry.history.records[-1].values
    proxy, peak = last["semgeom/asymmetry_peak_step"], last["semgeom/peak_step"]
    assert 0.5 <= proxy / peak <= 1.3
