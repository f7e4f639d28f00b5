"""Which hidden state belongs to which token: by hand, and by the loss of each model itself."""

import pytest
import torch
from torch import nn

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.capture.activations import HiddenCapture
from lightning_semgeom.capture.labels import LabelReader, Share
from tests import models
from tests.families.models import FAMILIES, Tuned, loader, table

pytest.importorskip("transformers")


# Worked by hand. `tokens` is what stands at each position of the module's input; `kept` has, for
# each position that counts, (position, token there, row of the table = token that it predicts).
CAUSAL = {
    "batch": {"input_ids": [5, 9, 2, 7, 0, 0], "labels": [5, 9, 2, 7, -100, -100]},
    "tokens": [5, 9, 2, 7, 0, 0],
    # 7 predicts what is left out, the padding too, and nothing comes after the last position.
    "kept": [(0, 5, 9), (1, 9, 2), (2, 2, 7)],
}
UNPADDED = {
    "batch": {"input_ids": [5, 9, 2, 7], "labels": [5, 9, 2, 7]},
    "tokens": [5, 9, 2, 7],
    "kept": [(0, 5, 9), (1, 9, 2), (2, 2, 7)],
}
# As in tuning on answers: the prompt 5, 9 is not asked for, but 9 predicts the answer's first.
ANSWER = {
    "batch": {"input_ids": [5, 9, 2, 7], "labels": [-100, -100, 2, 7]},
    "tokens": [5, 9, 2, 7],
    "kept": [(1, 9, 2), (2, 2, 7)],
}
# Token 3 is the mask: where it stands the state has to say what was there.
MASKED = {
    "batch": {"input_ids": [5, 3, 2, 3], "labels": [-100, 9, -100, 7]},
    "tokens": [5, 3, 2, 3],
    "kept": [(1, 3, 9), (3, 3, 7)],
}
# The decoder gets its labels one place to the right, behind the start token 0.
TRANSLATED = {
    "batch": {"input_ids": [8, 6, 4, 4, 4], "labels": [5, 9, 2, -100]},
    "tokens": [0, 5, 9, 2],
    "kept": [(0, 0, 5), (1, 5, 9), (2, 9, 2)],
}
BY_HAND = [
    *((name, case) for name in ("gpt2", "llama", "neox") for case in (CAUSAL, UNPADDED, ANSWER)),
    ("bert", MASKED),
    ("t5", TRANSLATED),
]


def batch_of(case):
    return {key: torch.tensor([row]) for key, row in case["batch"].items()}


def kept_rows(module, name, site, batch):
    """What the package keeps of the module called `site`, and the labels that it gives them."""
    layer = module.get_submodule(site)
    capture = HiddenCapture({"site": layer}, LabelReader("labels", "all", FAMILIES[name].shift))
    capture.arm(batch, Share(1000))
    with torch.no_grad():
        output = module.model(**batch)
    found = capture.collect()["site"]
    if isinstance(found, Exception):
        raise found
    return found, output


def head_of(module):
    head = module.model.get_output_embeddings()
    return next(name for name, found in module.named_modules() if found is head)


@pytest.mark.parametrize(("name", "case"), BY_HAND)
def test_each_kept_state_and_its_row_of_the_table_are_those_worked_by_hand(name, case):
    family = FAMILIES[name]
    module, batch = Tuned(family.make().eval()), batch_of(case)
    site, inputs, states = family.layers.replace("*", "1"), [], []
    part = module.model.get_decoder() if name == "t5" else module
    tokens = next(m for n, m in part.named_modules() if n.endswith(("embed_tokens", "wte",
                  "embed_in", "word_embeddings")))  # fmt: skip
    tokens.register_forward_hook(lambda _m, given, _o: inputs.append(given[0][0].tolist()))
    module.get_submodule(site).register_forward_hook(
        lambda _m, _i, out: states.append((out if torch.is_tensor(out) else out[0])[0])
    )
    found, _ = kept_rows(module, name, site, batch)
    assert inputs == [case["tokens"]]
    positions = [position for position, _, _ in case["kept"]]
    assert [case["tokens"][position] for position in positions] == [t for _, t, _ in case["kept"]]
    assert found.labels.tolist() == [row for _, _, row in case["kept"]]
    assert torch.equal(found.rows, states[0][positions])


@pytest.mark.parametrize(("name", "case"), BY_HAND)
def test_the_model_s_own_loss_is_that_of_the_kept_positions(name, case):
    module = Tuned(FAMILIES[name].make().eval())
    found, output = kept_rows(module, name, head_of(module), batch_of(case))
    expected = nn.functional.cross_entropy(found.rows, found.labels)
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-6)
    # The test can tell: with each label one place further it would not be the loss.
    other = nn.functional.cross_entropy(found.rows.roll(1, 0), found.labels)
    assert float(output.loss) != pytest.approx(float(other), rel=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_holds_for_a_padded_batch(name):
    family = FAMILIES[name]
    module = Tuned(family.make().eval())
    (batch,) = loader(family.rows(12), size=12)
    found, output = kept_rows(module, name, head_of(module), batch)
    expected = nn.functional.cross_entropy(found.rows, found.labels)
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(("name", "shift"), [("gpt2", False), ("bert", True), ("t5", True)])
def test_the_other_way_round_is_another_record(tmp_path, name, shift):
    family, found = FAMILIES[name], {}
    for chosen in (family.shift, shift):
        semgeom = SemanticGeometry(table(), hidden=family.layers, shift_labels=chosen)
        torch.manual_seed(1)
        models.trainer(tmp_path, semgeom, max_steps=1).fit(
            Tuned(family.make()), loader(family.rows(4))
        )
        found[chosen] = semgeom.history.records[0].values
    key = f"semgeom_hidden.{family.layers.replace('*', '1')}/within/colour"
    assert abs(found[True][key] - found[False][key]) > 1e-3
