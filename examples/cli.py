"""Train from a YAML file: the callback is configured there, and no code knows of it.

    python examples/cli.py fit --config examples/cli.yaml
    python examples/cli.py fit --trainer.callbacks.help lightning_semgeom.SemanticGeometry

Needs jsonargparse: pip install 'jsonargparse[signatures]'.
"""

from lightning.pytorch.cli import LightningCLI

from lightning_semgeom.settings.factored import FactoredData, FactoredModel

if __name__ == "__main__":
    LightningCLI(FactoredModel, FactoredData)
