"""See meaning form and fade in a model's representations while Lightning trains it."""

from lightning_semgeom._version import __version__
from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.callback import SemanticGeometry
from lightning_semgeom.checkpoints import analyze
from lightning_semgeom.geometry.collapse import NeuralCollapse, neural_collapse
from lightning_semgeom.geometry.concepts import Concepts, concepts
from lightning_semgeom.geometry.directions import Direction, directions
from lightning_semgeom.geometry.partial import partial_gap
from lightning_semgeom.geometry.similarity import AttributeSimilarity, attribute_similarity
from lightning_semgeom.geometry.spectrum import Spectrum, spectrum
from lightning_semgeom.record.history import History
from lightning_semgeom.record.phases import PhaseDetector
from lightning_semgeom.training.alignment import AttributeAlignment
from lightning_semgeom.training.anchor import GramAnchor
from lightning_semgeom.training.dispersion import GramDispersion
from lightning_semgeom.training.regularizer import GeometryRegularizer
from lightning_semgeom.training.steering import steer
from lightning_semgeom.training.stopping import StopAfterPeak

__all__ = [
    "AttributeAlignment",
    "AttributeSimilarity",
    "AttributeTable",
    "Concepts",
    "Direction",
    "GeometryRegularizer",
    "GramAnchor",
    "GramDispersion",
    "History",
    "NeuralCollapse",
    "PhaseDetector",
    "SemanticGeometry",
    "Spectrum",
    "StopAfterPeak",
    "__version__",
    "analyze",
    "attribute_similarity",
    "concepts",
    "directions",
    "neural_collapse",
    "partial_gap",
    "spectrum",
    "steer",
]
