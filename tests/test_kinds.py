"""Each argument of each public callable, given each wrong kind, is told before anything begins."""

import ast
import inspect

import numpy as np
import pytest
import torch

import lightning_semgeom
from tests import models
from tests.attributes import vocabularies

TABLE, ROWS = models.table(), torch.randn(12, 8)
CODES = {"rows": ROWS, "codes": TABLE.codes, "num_values": TABLE.num_values}
WINDOWS = [torch.arange(12)[None]]
SUPPORT = lightning_semgeom.support_matrix(WINDOWS, vocab_size=12)
FITTING = {
    "AttributeAlignment": {"table": TABLE},
    "AttributeSimilarity": {"num_values": [3, 2], "dim": 8},
    "GeometryRegularizer": {"loss": lightning_semgeom.GramDispersion()},
    "GramAnchor": {},
    "GramDispersion": {},
    "NeuralCollapse": {"num_classes": 3, "dim": 8},
    "PhaseDetector": {},
    "SemanticGeometry": {"attributes": TABLE},
    "SpectralPhaseDetector": {},
    "Spectrum": {"dim": 8},
    "StopAfterPeak": {},
    "analyze": {"paths": "here", "attributes": TABLE},
    "attribute_similarity": CODES,
    "compare": {"runs": {"a run": lightning_semgeom.History()}},
    "concepts": {"rows": ROWS, "k": 2, "table": TABLE},
    "cosine_third_moment": {"rows": ROWS, "counts": torch.arange(12)},
    "directions": {"rows": ROWS, "table": TABLE},
    "eigenspectrum": {"rows": ROWS},
    "linguistic_collapse": {"means": ROWS, "classifier": ROWS},
    "loss_deceleration": {"steps": [1, 2], "losses": [2.0, 1.0]},
    "neural_collapse": {"rows": ROWS, "labels": torch.arange(12) % 3, "num_classes": 3},
    "ood_orthogonality": {
        "rows": ROWS,
        "labels": torch.arange(12) % 3,
        "num_classes": 3,
        "outside": ROWS,
    },
    "partial_gap": CODES,
    "predicted_order": {"table": TABLE, "support": SUPPORT},
    "probe_from": {
        "texts": vocabularies.LINES,
        "tokenizer": vocabularies.byte_level(),
        "table": TABLE,
    },
    "snapshot": {"model": models.TinyModel(), "attributes": TABLE},
    "spectral_phase": {"steps": [1, 2], "rankme": [2.0, 1.0]},
    "spectrum": {"rows": ROWS},
    "support_matrix": {"batches": WINDOWS, "vocab_size": 12},
    "whitened": {"rows": ROWS},
}
# Results, what is read and not made, and a context that tells as it is entered (test_steering).
OTHERS = {"AttributeTable", "Concepts", "Direction", "History", "Snapshot", "steer", "__version__"}
WRONG = {
    "whole": 3,
    "number": 2.5,
    "text": "word",
    "list": [1, 2],
    "words": ["a", "b"],
    "dict": {"a": 1},
    "none": None,
    "tensor": torch.ones(2),
    "function": len,
    "object": object(),
}
# What a part of an annotation takes; what the value has to be besides is tested elsewhere.
TAKES = {
    "int": {"whole"},
    "float": {"whole", "number"},
    "bool": set(),
    "str": {"text"},
    "None": {"none"},
    "Tensor": {"tensor"},
    "nn.Module": set(),
    "torch.nn.Linear": set(),
    "AttributeTable": set(),
    "Attributes": set(),
    "Sequence[int]": {"list"},
    "Sequence[float]": {"list", "tensor"},
    "Sequence[str]": {"words"},
    "Sequence[str | Path]": {"words"},
    "Path": set(),
    "Mapping[str, int]": {"dict"},
    "Mapping[str, History | Sequence[History]]": set(),
    "Iterable[Any]": {"list", "words"},
    "Iterable[str]": {"words"},
    "Any": set(),
}
ARGUMENTS = [
    (name, argument)
    for name in FITTING
    for argument in inspect.signature(getattr(lightning_semgeom, name)).parameters
    if argument != "kwargs"
]


def alternatives(node):
    if isinstance(node, ast.BinOp):
        return [*alternatives(node.left), *alternatives(node.right)]
    return [ast.unparse(node)]


def taken(annotation):
    """The wrong kinds that are right for this annotation."""
    parts = alternatives(ast.parse(annotation, mode="eval").body)
    kinds = [
        {"function"}
        if part.startswith("Callable")
        else set()
        if part.startswith("Literal")
        else TAKES[part]
        for part in parts
    ]
    return set().union(*kinds)


def test_all_public_callables_are_here():
    assert {*FITTING, *OTHERS} == {*lightning_semgeom.__all__}


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_a_wrong_kind_is_told_with_the_argument_s_name(name, argument):
    function = getattr(lightning_semgeom, name)
    annotation = inspect.signature(function).parameters[argument].annotation
    wrong = WRONG.keys() - taken(annotation)
    assert len(wrong) >= 4
    for kind in wrong:
        with pytest.raises((ValueError, TypeError)) as told:
            function(**{**FITTING[name], argument: WRONG[kind]})
        assert argument in str(told.value) or "attribute 'a'" in str(told.value), kind


def test_the_right_kinds_of_numpy_are_taken():
    settings = {"every_n_steps": np.int64(5), "growth": np.float32(1.5), "alerts": np.bool_(False)}
    callback = lightning_semgeom.SemanticGeometry(TABLE, **settings)
    assert callback.every_n_steps == 5
    counts = np.array([3, 2])
    assert lightning_semgeom.AttributeSimilarity(counts, dim=8).num_values == (3, 2)
    names = np.array([f"token {i}" for i in range(12)])
    assert lightning_semgeom.directions(ROWS, TABLE, names)["size", "s"].nearest[0] in names


def test_the_message_has_the_value_and_what_was_expected():
    with pytest.raises(
        ValueError, match="SemanticGeometry: every_n_steps must be a whole number; "
    ):
        lightning_semgeom.SemanticGeometry(TABLE, every_n_steps="100")
    text = "PhaseDetector: quick_share must be a number or None; got a str, 'none'."
    with pytest.raises(ValueError, match=text):
        lightning_semgeom.PhaseDetector(quick_share="none")
    with pytest.raises(
        ValueError, match=r"hidden must be a str or a list \(each entry a str\); got"
    ):
        lightning_semgeom.SemanticGeometry(TABLE, hidden=[1])
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'k'"):
        lightning_semgeom.concepts(ROWS)
