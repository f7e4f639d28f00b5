"""Keep the weights of the moment when structure is strongest.

A ModelCheckpoint that watches `semgeom/gap` is all it takes. Run it as it is:

    python examples/keep_the_peak.py
"""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes

semgeom = SemanticGeometry(factored_attributes(), hidden="final_norm", positions="last")
keep = ModelCheckpoint(monitor="semgeom/gap", mode="max", every_n_train_steps=1)
trainer = pl.Trainer(max_steps=300, callbacks=[semgeom, keep])
trainer.fit(FactoredModel(), FactoredData())

steps, gaps = semgeom.history.curve("semgeom/gap")
print(f"largest gap {gaps.max():.3f} at step {steps[gaps.argmax()]}, {gaps[-1]:.3f} at the end")
print(f"its weights: {keep.best_model_path}")
