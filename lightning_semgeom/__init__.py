"""See meaning form and fade in a model's representations while Lightning trains it.

Each name is imported when it is first asked for: functions come without Lightning, and the command
line without torch.
"""

from typing import TYPE_CHECKING

from lightning_semgeom._version import __version__

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
    "Snapshot",
    "SpectralPhaseDetector",
    "Spectrum",
    "StopAfterPeak",
    "__version__",
    "analyze",
    "attribute_similarity",
    "compare",
    "concepts",
    "cosine_third_moment",
    "directions",
    "eigenspectrum",
    "linguistic_collapse",
    "loss_deceleration",
    "neural_collapse",
    "ood_orthogonality",
    "partial_gap",
    "predicted_order",
    "probe_from",
    "snapshot",
    "spectral_phase",
    "spectrum",
    "steer",
    "support_matrix",
    "whitened",
]

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable
    from lightning_semgeom.callback import SemanticGeometry
    from lightning_semgeom.capture.windows import probe_from
    from lightning_semgeom.checkpoints.analysis import analyze
    from lightning_semgeom.geometry.collapse import neural_collapse
    from lightning_semgeom.geometry.concepts import Concepts, concepts
    from lightning_semgeom.geometry.directions import Direction, directions
    from lightning_semgeom.geometry.eigenspectrum import eigenspectrum
    from lightning_semgeom.geometry.linguistic import linguistic_collapse
    from lightning_semgeom.geometry.metrics.collapse import NeuralCollapse
    from lightning_semgeom.geometry.metrics.similarity import AttributeSimilarity
    from lightning_semgeom.geometry.metrics.spectrum import Spectrum
    from lightning_semgeom.geometry.orthogonality import ood_orthogonality
    from lightning_semgeom.geometry.partial import partial_gap
    from lightning_semgeom.geometry.predicted import predicted_order
    from lightning_semgeom.geometry.similarity import attribute_similarity
    from lightning_semgeom.geometry.spectrum import spectrum
    from lightning_semgeom.geometry.support import support_matrix
    from lightning_semgeom.geometry.third_moment import cosine_third_moment
    from lightning_semgeom.geometry.whitened import whitened
    from lightning_semgeom.look import snapshot
    from lightning_semgeom.record.deceleration import loss_deceleration
    from lightning_semgeom.record.history import History
    from lightning_semgeom.record.phases import PhaseDetector
    from lightning_semgeom.record.snapshot import Snapshot
    from lightning_semgeom.record.spectral_phases import SpectralPhaseDetector, spectral_phase
    from lightning_semgeom.show.plots.compare import compare
    from lightning_semgeom.training.alignment import AttributeAlignment
    from lightning_semgeom.training.anchor import GramAnchor
    from lightning_semgeom.training.dispersion import GramDispersion
    from lightning_semgeom.training.regularizer import GeometryRegularizer
    from lightning_semgeom.training.steering import steer
    from lightning_semgeom.training.stopping import StopAfterPeak
else:  # a type checker that saw `__getattr__` would take any name for one of ours
    _MODULES = {
        "AttributeAlignment": "training.alignment",
        "AttributeSimilarity": "geometry.metrics.similarity",
        "AttributeTable": "attributes.table",
        "Concepts": "geometry.concepts",
        "Direction": "geometry.directions",
        "GeometryRegularizer": "training.regularizer",
        "GramAnchor": "training.anchor",
        "GramDispersion": "training.dispersion",
        "History": "record.history",
        "NeuralCollapse": "geometry.metrics.collapse",
        "PhaseDetector": "record.phases",
        "SemanticGeometry": "callback",
        "Snapshot": "record.snapshot",
        "SpectralPhaseDetector": "record.spectral_phases",
        "Spectrum": "geometry.metrics.spectrum",
        "StopAfterPeak": "training.stopping",
        "analyze": "checkpoints.analysis",
        "attribute_similarity": "geometry.similarity",
        "compare": "show.plots.compare",
        "concepts": "geometry.concepts",
        "cosine_third_moment": "geometry.third_moment",
        "directions": "geometry.directions",
        "eigenspectrum": "geometry.eigenspectrum",
        "linguistic_collapse": "geometry.linguistic",
        "loss_deceleration": "record.deceleration",
        "neural_collapse": "geometry.collapse",
        "ood_orthogonality": "geometry.orthogonality",
        "partial_gap": "geometry.partial",
        "predicted_order": "geometry.predicted",
        "probe_from": "capture.windows",
        "snapshot": "look",
        "spectral_phase": "record.spectral_phases",
        "spectrum": "geometry.spectrum",
        "steer": "training.steering",
        "support_matrix": "geometry.support",
        "whitened": "geometry.whitened",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found  # the next time it is found without a call
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
