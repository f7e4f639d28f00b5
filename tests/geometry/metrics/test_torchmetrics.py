"""What torchmetrics' own tester does to a metric, done to the three classes."""

import copy
import multiprocessing
import pickle
import warnings

import pytest
import torch
from torchmetrics import MetricCollection

from lightning_semgeom import AttributeSimilarity, NeuralCollapse, Spectrum

CLASSES = 3
WIDTH = 4


def made(seed=0, rows=30):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (rows,), generator=generator)
    x = torch.randn(rows, WIDTH, generator=generator) + labels[:, None]
    return x, labels


def similarity(**options):
    return AttributeSimilarity([CLASSES], WIDTH, **options)


def shape(**options):
    return Spectrum(WIDTH, **options)


def collapse(head=None, **options):
    return NeuralCollapse(CLASSES, WIDTH, head, **options)


KINDS = pytest.mark.parametrize("kind", [similarity, shape, collapse])


def arguments(kind, seed=0, dtype=torch.float32):
    x, labels = made(seed)
    second = {similarity: (labels[:, None],), shape: (), collapse: (labels,)}[kind]
    return (x.to(dtype), *second)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, equal_nan=True), name


@KINDS
def test_it_can_be_scripted_as_a_part_of_a_module(kind):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.metric = torch.nn.Linear(WIDTH, 2), kind()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    model = Model()
    x, _ = made()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(kind())
        assert torch.equal(torch.jit.script(model)(x), model(x))


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_narrower_dtype_is_refused_with_a_word_and_states_stay_in_fp64(kind, dtype):
    metric = kind()
    metric.update(*arguments(kind))
    expected = metric.compute()
    with pytest.warns(UserWarning, match=rf"^{type(metric).__name__}: its states stay in fp64"):
        assert metric.set_dtype(dtype) is metric
    for moved in (metric, metric.to(dtype), torch.nn.ModuleList([metric]).to(dtype)[0]):
        for state in metric._defaults:
            assert getattr(moved, state).dtype == moved._defaults[state].dtype == torch.float64
    metric._computed = None
    assert_same(metric.compute(), expected)


@KINDS
def test_fp64_is_taken_without_a_word(kind):
    assert kind().set_dtype(torch.float64).update_count == 0


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_any_dtype_are_measured_in_fp64(kind, dtype):
    for figure in kind()(*arguments(kind, dtype=dtype)).values():
        assert figure.dtype == torch.float64


@KINDS
def test_forward_gives_the_batch_and_adds_it(kind):
    metric, alone = kind(), [kind(), kind()]
    for seed in range(2):
        assert_same(metric(*arguments(kind, seed)), alone[seed](*arguments(kind, seed)))
    both = kind()
    for seed in range(2):
        both.update(*arguments(kind, seed))
    assert_same(metric.compute(), both.compute())


@KINDS
def test_pickles_clones_and_merged_states_go_on(kind):
    metric = kind()
    metric.update(*arguments(kind))
    for other in (pickle.loads(pickle.dumps(metric)), metric.clone(), copy.deepcopy(metric)):
        other.update(*arguments(kind, 1))
        merged = kind()
        merged.update(*arguments(kind, 1))
        merged.merge_state(metric)
        assert_same(merged.compute(), other.compute())
    assert hash(metric) != hash(metric.clone())


@KINDS
def test_states_are_in_the_state_dict_where_they_are_asked_for_and_can_be_loaded(kind):
    metric, other = kind(), kind()
    metric.update(*arguments(kind))
    assert not metric.state_dict()
    for one in (metric, other):
        one.persistent(mode=True)
    state = metric.state_dict()
    assert "settings" not in state
    other.load_state_dict(state)
    other._update_count = 1
    assert_same(other.compute(), metric.compute())
    metric.reset()
    assert not any(value.any() for value in metric.state_dict().values())


def test_states_of_neural_collapse_of_version_0_1_are_loaded():
    x, labels = made()
    means = torch.nn.functional.one_hot(labels, CLASSES).double()
    rows = x.double()
    old = {
        "counts": means.sum(0),
        "sums": means.T @ rows,
        "squares": means.T @ rows.square().sum(1),
        "second": rows.T @ rows,
        "agreed": torch.zeros((), dtype=torch.float64),
        "looked_at": torch.zeros((), dtype=torch.float64),
    }
    metric, expected = collapse(), collapse()
    metric.load_state_dict(old)
    metric._update_count = 1
    expected.update(x, labels)
    assert_same(metric.compute(), expected.compute())


@KINDS
def test_processes_add_up_to_the_whole(kind):
    gathered: list[list[torch.Tensor]] = []
    ranks = iter(gathered)
    here = kind(dist_sync_fn=lambda *_, **__: next(ranks), distributed_available_fn=lambda: True)
    there, whole = kind(), kind()
    for seed, metric in enumerate((here, there)):
        metric.update(*arguments(kind, seed))
        whole.update(*arguments(kind, seed))
    gathered += [[getattr(m, state) for m in (here, there)] for state in whole._defaults]
    assert_same(here.compute(), whole.compute())


def linear(seed):
    head = torch.nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        head.weight.copy_(
            torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(seed))
        )
    return head


def groups(**metrics):
    """How a collection groups metrics that were first shown rows without any label."""
    collection = MetricCollection(metrics)
    x, labels = made()
    unlabelled = torch.full_like(labels, -1)
    for codes in (unlabelled, labels):
        given = {"rows": x, "labels": codes, "codes": codes[:, None]}
        collection.update(**given)
    return sorted(map(sorted, collection.compute_groups.values())), collection.compute()


def test_metrics_with_other_settings_are_not_grouped_and_equal_ones_are():
    found, _ = groups(one=shape(), two=shape(), other=shape(center=False))
    assert found == [["one", "two"], ["other"]]
    found, _ = groups(
        one=similarity(),
        two=similarity(),
        plain=similarity(center=False),
        null=similarity(null=False),
    )
    assert found == [["null"], ["one", "two"], ["plain"]]


def test_attributes_of_as_many_values_in_all_are_not_grouped():
    x, labels = made()
    codes = torch.stack([labels, labels], dim=1).clamp(max=1)
    collection = MetricCollection(
        {"a": AttributeSimilarity([2, 3], WIDTH), "b": AttributeSimilarity([3, 2], WIDTH)}
    )
    collection.update(rows=x, codes=torch.full_like(codes, -1))
    assert sorted(collection.compute_groups.values()) == [["a"], ["b"]]


def test_two_classifiers_are_not_grouped_and_one_is():
    first, second = linear(0), linear(0)
    found, _ = groups(a=collapse(first), b=collapse(second), c=collapse(first), d=collapse())
    assert found == [["a", "c"], ["b"], ["d"]]
    metric = collapse(first)
    metric.set_classifier(second)
    found, _ = groups(a=metric, b=collapse(second), c=collapse(first))
    assert found == [["a", "b"], ["c"]]


def compute(metric, seed=0):
    metric.update(*arguments(collapse, seed))
    return float(metric.compute()["nc3"])


def train(head, seed=0):
    """Make `head` dual to the class means of the rows."""
    x, labels = made(seed)
    means = torch.stack([x[labels == k].mean(0) for k in range(CLASSES)])
    with torch.no_grad():
        head.weight.copy_(means - means.mean(0))


@pytest.mark.parametrize(
    "copied",
    [
        lambda metric: metric.clone(),
        copy.deepcopy,
        lambda metric: MetricCollection([metric]).clone(prefix="val_")["NeuralCollapse"],
        lambda metric: pickle.loads(pickle.dumps(metric)),
        lambda metric: pickle.loads(pickle.dumps(metric.clone())).clone(),
        lambda metric: pickle.loads(
            pickle.dumps(MetricCollection({"a": metric, "b": metric.clone()}))
        )["b"],
        lambda metric: metric.to("cpu"),
    ],
    ids=["clone", "deepcopy", "collection", "pickle", "pickled clone", "pickled collection", "to"],
)
def test_a_copy_reads_the_classifier_that_trains_on(copied):
    head = linear(1)
    metric = collapse(head)
    other = copied(metric)
    train(head)
    assert compute(other) == pytest.approx(0, abs=1e-9)
    assert not list(other.parameters())
    assert not list(other.children())


class Model(torch.nn.Module):
    def __init__(self, metric_first):
        super().__init__()
        head = linear(1)
        if metric_first:
            self.metric = collapse(head)
        self.head = head
        if not metric_first:
            self.metric = collapse(head)


@pytest.mark.parametrize("metric_first", [True, False])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_the_whole_model_reads_the_copys_classifier(copied, metric_first):
    model = Model(metric_first)
    other = copied(model)
    train(other.head)
    assert compute(other.metric) == pytest.approx(0, abs=1e-9)
    assert compute(model.metric) > 0.1
    assert list(other.state_dict()) == list(model.state_dict()) == ["head.weight", "head.bias"]


def nc3_of(pickled):
    """In a process of its own: nc3, and what was said."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = pickle.loads(pickled)
        metric = found.metric if isinstance(found, Model) else found
        value = compute(metric)
        compute(metric)
    return value, [str(w.message) for w in told if "NeuralCollapse" in str(w.message)]


@pytest.mark.processes
def test_in_another_process_a_metric_without_its_model_says_so():
    model = Model(metric_first=True)
    train(model.head)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        alone, told = pool.apply(nc3_of, (pickle.dumps(model.metric),))
        together, silent = pool.apply(nc3_of, (pickle.dumps(model),))
    assert alone == together == pytest.approx(0, abs=1e-9)
    assert silent == []
    assert len(told) == 1
    assert told[0].startswith("NeuralCollapse: it was unpickled without the model")


def test_a_classifier_that_does_not_fit_is_refused_later_too():
    with pytest.raises(ValueError, match=r"classifier must be \[3, 4\]; got \[2, 4\]"):
        collapse().set_classifier(torch.nn.Linear(4, 2))
