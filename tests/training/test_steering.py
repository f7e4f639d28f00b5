"""Steering is the forward with an addition at one place, and leaves nothing behind."""

from collections import OrderedDict, namedtuple
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch._dynamo import eval_frame
from torch._dynamo.utils import counters
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate
from torch.utils.checkpoint import checkpoint

from lightning_semgeom import steer

DIRECTION = torch.tensor([1.0, -2.0, 0.5, 3.0])
TOKENS = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
Pair = namedtuple("Pair", "hidden weights")


class Body(nn.Module):
    """Something not linear, so that it matters where the direction is added."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.inner(x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = Body()
        self.norm = nn.LayerNorm(4)
        self.lm_head = nn.Linear(4, 6, bias=False)

    def forward(self, x):
        return self.lm_head(self.norm(self.body(x)))


class Giving(nn.Module):
    """Its site gives the input wrapped in a container."""

    def __init__(self, wrap):
        super().__init__()
        self.site = Wrapped(wrap)

    def forward(self, x):
        return self.site(x)


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


def by_hand(model, x, addition):
    """The forward with something added to what `body` gives."""
    return model.lm_head(model.norm(model.body(x) + addition))


def at_last(vector):
    addition = torch.zeros(5, 4)
    addition[-1] = vector
    return addition


def is_clean(model):
    """Whether no hook and no stance is left."""
    hooked = any(module._forward_hooks for module in model.modules())
    return not hooked and eval_frame._stance.stance == "default"


def test_all_positions_are_moved_as_by_hand():
    model = Model()
    with steer(model, "body", DIRECTION, strength=1.5, positions="all"):
        steered = model(TOKENS)
    assert torch.equal(steered, by_hand(model, TOKENS, 1.5 * DIRECTION))


def test_the_last_position_alone_is_moved_unless_said_otherwise():
    model = Model()
    with steer(model, "body", DIRECTION, strength=1.5):
        steered = model(TOKENS)
    plain = model(TOKENS)
    assert torch.allclose(steered, by_hand(model, TOKENS, at_last(1.5 * DIRECTION)))
    assert torch.equal(steered[:, :-1], plain[:, :-1])
    assert not torch.isclose(steered[:, -1], plain[:, -1]).all()


@pytest.mark.parametrize("positions", ["last", "all"])
def test_each_row_of_an_output_without_positions_is_moved(positions):
    model, rows = Model(), TOKENS[:, 0]
    with steer(model, "body", DIRECTION, positions=positions):
        steered = model(rows)
    assert torch.equal(steered, by_hand(model, rows, DIRECTION))


def test_strength_0_changes_nothing():
    model = Model()
    with steer(model, "body", DIRECTION, strength=0.0):
        steered = model(TOKENS)
    assert torch.equal(steered, model(TOKENS))


@pytest.mark.parametrize("strength", [-2.0, 0.5, 8.0])
def test_before_the_head_logits_move_by_the_strength_times_the_head_of_the_direction(strength):
    model = Model()
    with steer(model, "norm", DIRECTION, strength):
        steered = model(TOKENS)
    moved = (steered - model(TOKENS))[:, -1]
    expected = strength * model.lm_head.weight @ DIRECTION
    assert torch.allclose(moved, expected.expand(3, 6), atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "hidden."])
def test_a_site_is_named_as_in_the_model_or_as_in_records(prefix):
    model = Model()
    with steer(model, f"{prefix}body.inner", DIRECTION):
        assert len(model.body.inner._forward_hooks) == 1
        model(TOKENS)


def test_directions_of_another_dtype_are_cast_to_the_output():
    model = Model().bfloat16()
    with steer(model, "body", DIRECTION.double() / 3, strength=3.0):
        steered = model(TOKENS.bfloat16())
    assert steered.dtype == torch.bfloat16
    expected = by_hand(model, TOKENS.bfloat16(), at_last(DIRECTION).bfloat16())
    assert torch.equal(steered, expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: (x, "rest"),
        lambda x: [x, "rest"],
        lambda x: Pair(x, "rest"),
        lambda x: {"hidden": x, "weights": "rest"},
        lambda x: OrderedDict(hidden=x, weights="rest"),
    ],
)
def test_the_first_entry_of_a_container_is_moved_and_the_rest_stays(wrap):
    model = Giving(wrap)
    with steer(model, "site", DIRECTION, positions="all"):
        given = model(TOKENS)
    expected = wrap(TOKENS + DIRECTION)
    assert type(given) is type(expected)
    entries = [list(out.values() if isinstance(out, dict) else out) for out in (given, expected)]
    assert torch.equal(entries[0][0], entries[1][0])
    assert entries[0][1:] == ["rest"]


def test_what_others_hold_is_not_changed():
    held = {"hidden": TOKENS.clone()}
    with steer(model := Giving(lambda x: held), "site", DIRECTION):
        given = model(TOKENS)
    assert given is not held
    assert torch.equal(held["hidden"], TOKENS)


def test_blocks_may_be_nested_at_one_site():
    model = Model()
    with steer(model, "body", DIRECTION, 2.0, "all"):
        with steer(model, "body", DIRECTION, -0.5, "all"):
            both = model(TOKENS)
        outer = model(TOKENS)
    assert torch.allclose(both, by_hand(model, TOKENS, 1.5 * DIRECTION), atol=1e-6)
    assert torch.equal(outer, by_hand(model, TOKENS, 2.0 * DIRECTION))
    assert is_clean(model)


def test_after_the_block_the_model_is_as_it_was():
    model = Model()
    before, plain = deepcopy(model.state_dict()), model(TOKENS)
    with steer(model, "body", DIRECTION):
        model(TOKENS)
    assert is_clean(model)
    assert torch.equal(model(TOKENS), plain)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_after_an_exception_the_model_is_as_it_was():
    model = Model()
    plain = model(TOKENS)
    with pytest.raises(RuntimeError, match="the user's own"), steer(model, "body", DIRECTION):  # noqa: PT012
        model(TOKENS)
        raise RuntimeError("the user's own")
    assert is_clean(model)
    assert torch.equal(model(TOKENS), plain)


def test_a_block_that_is_dropped_unfinished_leaves_nothing():
    model = Model()
    block = steer(model, "body", DIRECTION)
    block.__enter__()
    assert not is_clean(model)
    del block
    assert is_clean(model)


def test_gradients_flow_to_the_weights_and_to_the_direction():
    model, direction = Model(), DIRECTION.clone().requires_grad_()
    with steer(model, "norm", direction, strength=2.0):
        model(TOKENS)[..., 0].sum().backward()
    assert torch.allclose(direction.grad, 3 * 2.0 * model.lm_head.weight[0])
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    addition = at_last(2.0 * DIRECTION)
    model.lm_head(model.norm(model.body(TOKENS)) + addition)[..., 0].sum().backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        assert torch.allclose(gradient, parameter.grad, atol=1e-6)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_what_activation_checkpointing_computes_again_is_steered_too(use_reentrant):
    def gradients(run):
        model, x = Model(), TOKENS.clone().requires_grad_()
        with steer(model, "body.inner", DIRECTION, positions="all"):
            run(model, x).square().sum().backward()
        return [x.grad, *(parameter.grad for parameter in model.parameters())]

    plain = gradients(lambda model, x: model(x))
    again = gradients(lambda model, x: checkpoint(model, x, use_reentrant=use_reentrant))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def whole():
    return torch.compile(Model(), backend="eager")


def inside():
    model = Model()
    model.body = torch.compile(model.body, backend="eager", fullgraph=True)
    return model


def in_place():
    model = Model()
    model.compile(backend="eager")
    return model


@pytest.fixture
def _fresh_compiler():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()
    counters.clear()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("compiled", [whole, inside, in_place])
@pytest.mark.parametrize("site", ["body", "body.inner"])
def test_compiled_code_is_steered_and_nothing_is_compiled_anew(compiled, site):
    model, eager = compiled(), Model()
    plain = model(TOKENS)
    graphs = counters["stats"]["unique_graphs"]
    with steer(model, site, DIRECTION):
        with steer(model, "norm", DIRECTION, -1.0):
            twice = model(TOKENS)
        once = model(TOKENS)  # the inner block's end has not brought the compiled code back
    with steer(eager, site, DIRECTION):
        expected = eager(TOKENS)
        with steer(eager, "norm", DIRECTION, -1.0):
            expected_twice = eager(TOKENS)
    assert torch.equal(once, expected)
    assert torch.equal(twice, expected_twice)
    assert is_clean(model)
    assert torch.equal(model(TOKENS), plain)
    assert counters["stats"]["unique_graphs"] == graphs > 0


@pytest.fixture(scope="module")
def gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config).eval()


@torch.no_grad()
def test_a_language_model_is_steered_while_it_generates(gpt2):
    wanted = gpt2.lm_head.weight[7].clone()
    prompt = torch.tensor([[1, 2, 3]])
    options = dict.fromkeys(("eos_token_id", "pad_token_id"), None) | {"max_new_tokens": 4}
    prompt = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    plain = gpt2.generate(**prompt, do_sample=False, **options)
    with steer(gpt2, "transformer.ln_f", wanted, strength=1e4):
        steered = gpt2.generate(**prompt, do_sample=False, **options)
    assert steered[0].tolist() == [1, 2, 3, 7, 7, 7, 7]
    assert torch.equal(gpt2.generate(**prompt, do_sample=False, **options), plain)


@torch.no_grad()
def test_fields_and_keys_of_a_model_output_agree(gpt2):
    tokens = torch.tensor([[1, 2, 3]])
    plain = gpt2.transformer(tokens)
    with steer(gpt2, "transformer", torch.ones(8), positions="all"):
        steered = gpt2.transformer(tokens)
    assert type(steered) is type(plain)
    assert torch.equal(steered.last_hidden_state, plain.last_hidden_state + 1)
    assert steered["last_hidden_state"] is steered.last_hidden_state
    assert steered.past_key_values is not None


def test_an_unknown_site_is_told_with_close_names():
    match = r"site='boddy' is no module of Model. Close names: 'body'"
    with pytest.raises(ValueError, match=match), steer(Model(), "boddy", DIRECTION):
        pass


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"direction": [1.0]}, "direction must be a floating point tensor .*got list"),
        ({"direction": torch.ones(4).long()}, "direction must be .*got torch.int64"),
        ({"direction": torch.ones(2, 4)}, r"direction must be one vector \[d\]; got \[2, 4\]"),
        ({"direction": DIRECTION / 0}, "direction must be finite"),
        ({"strength": float("nan")}, "strength must be a finite number; got nan"),
        ({"positions": "first"}, "positions must be 'last' or 'all'; got 'first'"),
    ],
)
def test_an_unfit_argument_is_told_at_the_beginning(changed, match):
    model = Model()
    block = steer(**{"model": model, "site": "body", "direction": DIRECTION} | changed)
    with pytest.raises(ValueError, match=match):
        block.__enter__()
    assert is_clean(model)


@pytest.mark.parametrize(
    ("wrap", "match"),
    [
        (lambda x: x[..., :3], r"site='site' gave an output \[3, 5, 3\]; a direction \[4\] fits"),
        (lambda x: x[None], r"gave an output \[1, 3, 5, 4\]"),
        (lambda x: x.long(), "gave a torch.int64; expected a floating point tensor"),
        (lambda x: (), "gave a tuple; expected"),
        (lambda x: {}, "gave a dict; expected"),
        (lambda x: (None, x), "gave a NoneType; expected"),
    ],
)
def test_an_unfit_output_is_told_in_the_forward(wrap, match):
    model = Giving(wrap)
    with pytest.raises(ValueError, match=match), steer(model, "site", DIRECTION):
        model(TOKENS)
    assert is_clean(model)


def test_a_distributed_output_is_refused(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        mesh = init_device_mesh("cpu", (1,))
        model = Giving(lambda x: DTensor.from_local(x, mesh, [Replicate()]))
        with pytest.raises(ValueError, match="gave a DTensor"), steer(model, "site", DIRECTION):
            model(TOKENS)
    finally:
        torch.distributed.destroy_process_group()


def test_a_block_that_does_not_call_the_site_is_an_error():
    model = Model()
    with pytest.raises(ValueError, match="site='body' was not called in the block"):  # noqa: SIM117
        with steer(model, "body", DIRECTION):
            model.norm(TOKENS)
    assert is_clean(model)
