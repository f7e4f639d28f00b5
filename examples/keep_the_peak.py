"""Stop when structure is past its peak, with the weights of the peak.

A ModelCheckpoint that watches `semgeom/gap` keeps them; StopAfterPeak ends training and puts them
back. Without it the checkpoint alone is kept, and training goes on. Run it as it is:

    python examples/keep_the_peak.py
"""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_semgeom import SemanticGeometry, StopAfterPeak, attribute_similarity
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes

table, model = factored_attributes(), FactoredModel()
semgeom = SemanticGeometry(table, hidden="final_norm", positions="last")
keep = ModelCheckpoint(monitor="semgeom/gap", mode="max", every_n_train_steps=1)
trainer = pl.Trainer(max_steps=2000, callbacks=[semgeom, StopAfterPeak(), keep])
trainer.fit(model, FactoredData())

steps, gaps = semgeom.history.curve("semgeom/gap")
print(f"largest gap {gaps.max():.3f} at step {steps[gaps.argmax()]}, {gaps[-1]:.3f} at the end")
rows = model.lm_head.weight[: len(table)]
gap = attribute_similarity(rows, table.codes, table.num_values)["gap"].mean()
print(f"ended at step {trainer.global_step}; the model's gap is {gap:.3f} again")
print(f"its weights: {keep.best_model_path}")
