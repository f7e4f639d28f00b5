"""What only a GPU shows; skipped where there is none."""

import math

import pytest
import torch

from lightning_semgeom import SemanticGeometry, attribute_similarity, neural_collapse, spectrum
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import OwnedRows
from lightning_semgeom.commands.demo import run_demo
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.classes import class_offsets
from lightning_semgeom.geometry.moved import moved
from lightning_semgeom.measure import weights as measure_weights
from lightning_semgeom.measure.hidden import HiddenFigures
from lightning_semgeom.measure.weights import WeightFigures
from tests import models, oracles
from tests.capture.test_compiled import Checkpointed, CompiledInside, Model, forget_compiled

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # What torch says of itself.
    pytest.mark.filterwarnings(
        "ignore:.*os.fork\\(\\) was called",
        "ignore:Synchronization debug mode is a prototype",
        "ignore:TensorFloat32 tensor cores",
        "ignore:The AccumulateGrad node's stream",
        "ignore:The CUDA Graph is empty",
    ),
]

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
STEPS = 8


def rows_and_codes(rows=600, width=48, shift=1.0):
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in (2, 5)], 1)
    centres = torch.randn(5, width, generator=generator)
    x = torch.randn(rows, width, generator=generator) + centres[codes[:, 1]] + shift
    codes[torch.rand(codes.shape, generator=generator) > 0.8] = -1
    return x, codes


@pytest.mark.parametrize("allowed", ["highest", "medium"])
@pytest.mark.parametrize("rows", [600, 5000])  # many rows are added up in another way
@pytest.mark.parametrize("dtype", DTYPES)
def test_figures_are_those_of_loops_over_pairs(dtype, rows, allowed):
    x, codes = rows_and_codes(rows)
    x = x.to(dtype)
    torch.set_float32_matmul_precision(allowed)
    try:
        with torch.autocast("cuda", torch.bfloat16):
            found = attribute_similarity(x.cuda(), codes.cuda(), [2, 5])
            shape = spectrum(x.cuda())
    finally:
        torch.set_float32_matmul_precision("highest")
    exact = x.double().numpy()
    for a in range(2):
        within, between = oracles.within_between(exact, codes[:, a].tolist())
        assert float(found["gap"][a]) == pytest.approx(within - between, abs=1e-7)
        strength = oracles.strength(exact, codes[:, a].tolist())
        assert float(found["strength"][a]) == pytest.approx(strength, abs=1e-6)
    in_fp64 = attribute_similarity(x.double(), codes, [2, 5])
    torch.testing.assert_close(found["z"].cpu(), in_fp64["z"], rtol=1e-6, atol=1e-6)
    for name, value in oracles.spectrum(exact).items():
        assert float(shape[name]) == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_neural_collapse_is_that_of_the_same_features_in_fp64():
    x, codes = rows_and_codes()
    labels = codes[:, 1].clamp(min=0)
    found = neural_collapse(x.cuda(), labels.cuda(), 5)
    for name, value in neural_collapse(x.double(), labels, 5).items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-6, nan_ok=True), (
            name
        )


def measuring(dtype, rows=5000, width=1024):
    generator = torch.Generator().manual_seed(0)
    codes = {
        "x": [i % 40 for i in range(rows)],
        "y": [i % 7 if i % 3 else None for i in range(rows)],
    }
    table = models.AttributeTable.from_dict(codes)
    weight = torch.randn(rows, width, generator=generator).to("cuda", dtype)
    owned = {site: OwnedRows(weight, 0, rows) for site in ("a", "b")}
    return WeightFigures(table, dict.fromkeys(owned, width), 8, Ranks()), owned


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_host_waits_for_the_device_once_a_record(monkeypatch, dtype):
    figures, owned = measuring(dtype)
    figures.measure(owned, None, eigenvalues=False)  # plans are made
    copied = []
    monkeypatch.setattr(
        measure_weights, "measurements", lambda found, _: copied.append(found) or {}
    )
    try:
        torch.cuda.set_sync_debug_mode("error")
        figures.measure(owned, None, eigenvalues=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for figure in copied[0].values():
        if isinstance(figure, Exception):
            raise figure
        assert figure.is_cuda


@pytest.mark.parametrize("dtype", DTYPES)
def test_five_records_are_equal_to_the_bit(dtype):
    figures, owned = measuring(dtype)
    first, *others = (figures.measure(owned, None)["a"].figures.tobytes() for _ in range(5))
    assert others == [first] * 4


def positions(dtype, count=3000, width=600):
    """Hidden rows of labels of which some are frequent, one has zero rows alone, one a NaN."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(count, generator=generator) ** 3 * 400).long()
    rows = (torch.randn(count, width, generator=generator) + 2).to(dtype)
    rows[labels == 3] = 0
    table = models.AttributeTable.from_dict(
        {"x": [i % 5 for i in range(400)], "y": [i % 7 if i % 3 else None for i in range(400)]}
    )
    return table, HiddenRows(rows.cuda(), labels), HiddenRows(rows.double(), labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_figures_are_those_in_fp64_on_the_host_and_always_the_same_bits(dtype):
    table, on_card, on_host = positions(dtype)
    figures = HiddenFigures(table, 8)
    first, *others = (figures.measure({"h": on_card})["h"].figures.tobytes() for _ in range(5))
    assert others == [first] * 4
    found, exact = (
        HiddenFigures(table, 8).measure({"h": rows})["h"].values for rows in (on_card, on_host)
    )
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_offsets_of_classes_are_those_on_the_host_and_nothing_is_asked(dtype):
    _, on_card, _ = positions(dtype)
    rows = on_card.rows.clone()
    rows[on_card.labels.eq(9).nonzero()[0].cuda()] = torch.nan
    members = Bags.of(on_card.labels, 401)  # the last class has no rows
    moved_members = moved(members, rows.device)
    class_offsets(rows, moved_members)  # kernels are compiled
    try:
        torch.cuda.set_sync_debug_mode("error")
        found = class_offsets(rows, moved_members)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = class_offsets(rows.cpu().double(), members)
    assert expected[9].isnan().all()
    assert not expected[[3, 400]].any()
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-6, atol=1e-9, equal_nan=True)


def eager(**_):
    return Model()


def compiled(**options):
    return CompiledInside(**options)


def cuda_graphs(**_):
    return CompiledInside(mode="reduce-overhead")


def checkpointed(**_):
    model = Checkpointed()
    model.body.compile()
    return model


def fitted(folder, model, *callbacks, **options):
    trainer = models.trainer(
        folder, *callbacks, max_steps=STEPS, accelerator="gpu", devices=1, **options
    )
    trainer.fit(model, models.batches())
    return trainer


def geometry(**options):
    given = {"hidden": ["body", "body.0"], "every_n_steps": 3, "growth": None}
    return SemanticGeometry(models.table(), **(given | options))


@pytest.fixture
def _fresh_compiler():
    forget_compiled()
    yield
    forget_compiled()


WAYS = [
    *((eager, {"precision": p}) for p in ("32-true", "bf16-mixed", "16-mixed", "bf16-true")),
    (eager, {"deterministic": True}),
    (eager, {"strategy": "ddp"}),
    *(
        (way, {"precision": p})
        for p in ("32-true", "bf16-mixed")
        for way in (compiled, cuda_graphs)
    ),
    (checkpointed, {}),
]


@pytest.mark.parametrize("probe", [None, models.batches(2)], ids=["batch", "probe"])
@pytest.mark.parametrize(("made", "options"), WAYS)
@pytest.mark.usefixtures("_fresh_compiler")
def test_a_run_has_the_figures_of_its_weights_and_is_not_changed(
    tmp_path, monkeypatch, made, options, probe
):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    ours, kept = geometry(probe=probe), models.WeightsByStep()
    weights = []
    for callbacks in ([], [kept, ours]):
        forget_compiled()
        model = made()
        fitted(tmp_path, model, *callbacks, **options)
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    if made is eager:
        assert all(map(torch.equal, *weights))
    for plain, with_ours in zip(*weights, strict=True):
        # Code that gives out hidden states is another program, in which other steps are fused.
        torch.testing.assert_close(with_ours, plain, rtol=1e-5, atol=1e-5)
    assert {0, 3, 6, STEPS} <= {record.step for record in ours.history}
    for record in ours.history:
        rows = kept.heads[record.step].double().cpu().numpy()
        for a, name in enumerate(("colour", "size")):
            within, between = oracles.within_between(rows, models.table().codes[:, a].tolist())
            found = record.values[f"semgeom_unembedding/gap/{name}"]
            assert found == pytest.approx(within - between, abs=1e-6)
            if record.step < STEPS or probe:
                assert not math.isnan(record.values[f"semgeom_hidden.body/gap/{name}"])


@pytest.mark.parametrize("made", [compiled, cuda_graphs, checkpointed])
@pytest.mark.parametrize("probe", [None, models.batches(2)], ids=["batch", "probe"])
@pytest.mark.usefixtures("_fresh_compiler")
def test_hidden_states_of_compiled_code_are_those_of_the_eager_model(tmp_path, made, probe):
    found = []
    for way in (eager, made):
        forget_compiled()
        callback = geometry(probe=probe)
        fitted(tmp_path / way.__name__, way(), callback)
        found.append(callback.history)
    for eagerly, ours in zip(*found, strict=True):
        assert dict(ours.values) == pytest.approx(
            dict(eagerly.values), abs=1e-3, rel=1e-3, nan_ok=True
        )


def test_the_demo_trains_on_the_device(tmp_path):
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    run = run_demo("factored", 0, 20, tmp_path, None, "csv")
    assert torch.cuda.max_memory_allocated() > before
    assert run.geometry.history.records[-1].step == 20
