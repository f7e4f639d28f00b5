import pytest
import torch
from torch import nn

from lightning_semgeom.capture.names import find_hidden, module_names
from lightning_semgeom.capture.sites import (
    find_embedding,
    find_unembedding,
)


class Answering(nn.Module):
    """As Hugging Face models: knows its own layers."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(10, 4)
        self.score = nn.Linear(4, 10)
        self.lm_head = nn.Linear(4, 3)

    def get_input_embeddings(self):
        return self.wte

    def get_output_embeddings(self):
        return self.score


def layers(**modules):
    holder = nn.Module()
    for name, module in modules.items():
        holder.add_module(name, module)
    return holder


def test_what_the_model_answers_comes_before_names():
    model = layers(net=Answering())
    name, module = find_unembedding(model, True, 10)
    assert name == "net.score"
    assert module is model.net.score
    assert find_embedding(model, True, 10)[0] == "net.wte"


def test_a_model_without_a_head_is_asked_in_vain():
    class Headless(Answering):
        def get_output_embeddings(self):
            return None

    assert find_unembedding(layers(net=Headless()), True, 10)[0] == "net.lm_head"


def test_the_only_module_called_like_a_head_is_found():
    model = layers(body=nn.Linear(4, 10), head=nn.Linear(4, 7), embed=nn.Embedding(10, 4))
    assert find_unembedding(model, True, 10)[0] == "head"


def test_the_only_linear_with_as_many_outputs_as_the_table_has_rows_is_found():
    model = layers(one=nn.Linear(4, 10), two=nn.Linear(4, 8))
    assert find_unembedding(model, True, 8)[0] == "two"


def test_a_named_module_is_taken_whatever_it_is_called():
    model = layers(one=nn.Linear(4, 10), head=nn.Linear(4, 8), table=nn.Embedding(9, 4))
    assert find_unembedding(model, "one", 8)[0] == "one"
    assert find_embedding(model, "table", 3)[0] == "table"


def test_the_embedding_is_the_only_one_with_enough_rows():
    model = layers(token=nn.Embedding(100, 4), position=nn.Embedding(16, 4))
    assert find_embedding(model, True, 50)[0] == "token"


def test_the_names_of_wrappers_are_not_part_of_a_name():
    inner = layers(head=nn.Linear(4, 3))
    compiled = layers(net=torch.compile(inner, backend="eager"))
    assert "net.head" in module_names(compiled)
    assert find_unembedding(compiled, True, 3)[1] is inner.head


def test_globs_find_hidden_modules_in_the_model_s_order():
    model = layers(layers=nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))), norm=nn.LayerNorm(2))
    assert list(find_hidden(model, ["norm", "layers.*"])) == [
        "layers.0",
        "layers.1",
        "layers.2",
        "norm",
    ]
    assert find_hidden(model, []) == {}


def blocks():
    """Two layers of three modules each, as language models have them."""

    def block():
        return layers(mlp=nn.Sequential(nn.Linear(2, 2)), norm_1=nn.Identity())

    return layers(net=layers(layers=nn.ModuleList([block(), block()]), norm_2=nn.Identity()))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("net.layers.*", "net.layers.0 net.layers.1"),
        ("net.layers.1", "net.layers.1"),
        ("net.layers.?.mlp", "net.layers.0.mlp net.layers.1.mlp"),
        ("net.layers.[1-9]", "net.layers.1"),
        ("n*", "net"),
        ("net.norm_?", "net.norm_2"),
        ("net.*.*.mlp", "net.layers.0.mlp net.layers.1.mlp"),
        ("**.norm_?", "net.layers.0.norm_1 net.layers.1.norm_1 net.norm_2"),
        ("**.0", "net.layers.0 net.layers.0.mlp.0 net.layers.1.mlp.0"),
        ("net.**.norm_2", "net.norm_2"),
        ("**.net", "net"),
        ("net.layers.1.**", "net.layers.1.mlp net.layers.1.mlp.0 net.layers.1.norm_1"),
        ("net.layers.**.mlp.*", "net.layers.0.mlp.0 net.layers.1.mlp.0"),
    ],
)
def test_a_star_ends_at_a_dot_and_two_stars_do_not(pattern, found):
    assert list(find_hidden(blocks(), [pattern])) == found.split()


def test_two_stars_alone_are_all_modules():
    assert list(find_hidden(blocks(), ["**"])) == list(module_names(blocks()))


def test_a_star_that_would_have_to_pass_a_dot_is_explained():
    with pytest.raises(
        ValueError, match=r"no module of Module. `\*` ends at a dot; `\*\*` does not"
    ):
        find_hidden(blocks(), ["*norm_1"])


@pytest.mark.parametrize(
    ("modules", "wanted", "message"),
    [
        ({"head": nn.Linear(4, 9), "lm_head": nn.Linear(4, 9)}, True, "'head', 'lm_head'"),
        ({"one": nn.Linear(4, 9), "two": nn.Linear(4, 9)}, True, "several .* 'one', 'two'"),
        ({"one": nn.Linear(4, 5)}, True, "none has 9 outputs.*Linear modules: 'one'"),
        ({"lm_head": nn.Linear(4, 9)}, "lm_haed", "is no module. Close names: 'lm_head'"),
        ({"norm": nn.LayerNorm(4)}, "norm", "is a LayerNorm without a weight"),
    ],
)
def test_an_unembedding_that_cannot_be_found_is_explained(modules, wanted, message):
    with pytest.raises(ValueError, match=message):
        find_unembedding(layers(**modules), wanted, 9)


def test_an_embedding_that_cannot_be_found_is_explained():
    two = layers(a=nn.Embedding(9, 2), b=nn.Embedding(9, 2))
    with pytest.raises(ValueError, match=r"several modules may be the embedding.*'a', 'b'"):
        find_embedding(two, True, 9)
    with pytest.raises(ValueError, match=r"no module was found .* 9 tokens"):
        find_embedding(layers(a=nn.Embedding(5, 2)), True, 9)


def test_a_hidden_name_without_a_match_lists_close_ones():
    model = layers(layer_norm=nn.LayerNorm(2), mlp=nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"hidden='layernorm' matches no module.*'layer_norm'"):
        find_hidden(model, ["layernorm"])
    with pytest.raises(ValueError, match="Modules: 'layer_norm', 'mlp'"):
        find_hidden(model, ["zzz*"])


def frozen(module):
    return module.requires_grad_(False)


def test_of_a_teacher_and_a_student_the_one_that_trains_is_taken():
    both = layers(teacher=frozen(Answering()), student=Answering())
    assert find_unembedding(both, True, 10)[0] == "student.score"
    assert find_embedding(both, True, 10)[0] == "student.wte"
    plain = {"lm_head": nn.Linear(4, 10), "embed": nn.Embedding(10, 4)}
    by_name = layers(teacher=frozen(layers(**plain)), student=layers(lm_head=nn.Linear(4, 10)))
    assert find_unembedding(by_name, True, 10)[0] == "student.lm_head"
    by_size = layers(old=frozen(nn.Linear(4, 10)), new=nn.Linear(4, 10))
    assert find_unembedding(by_size, True, 10)[0] == "new"


@pytest.mark.parametrize("student", ["lm_head", "to_words"])
def test_a_frozen_answer_gives_way_to_a_student_that_another_rule_finds(student):
    model = layers(teacher=frozen(Answering()), student=layers(**{student: nn.Linear(4, 10)}))
    assert find_unembedding(model, True, 10)[0] == f"student.{student}"
    embedding = layers(teacher=frozen(Answering()), student=layers(tokens=nn.Embedding(10, 4)))
    assert find_embedding(embedding, True, 10)[0] == "student.tokens"


def test_what_trains_beside_a_frozen_head_but_is_of_another_length_is_no_rival():
    value = layers(lm=frozen(Answering()), head=nn.Linear(4, 1))
    assert find_unembedding(value, True, 10)[0] == "lm.score"
    with pytest.raises(ValueError, match=r"several modules may be the unembedding: 'lm_head', 'h"):
        find_unembedding(layers(lm_head=frozen(nn.Linear(4, 10)), head=nn.Linear(4, 1)), True, 10)


@pytest.mark.parametrize("make", [Answering, lambda: layers(head=nn.Linear(4, 10))])
@pytest.mark.parametrize("change", [lambda module: module, frozen])
def test_two_heads_that_both_train_or_are_both_frozen_are_an_error(make, change):
    model = layers(teacher=change(make()), student=change(make()))
    with pytest.raises(ValueError, match=r"several .*'teacher\.(score|head)', 'student\.(s|h)"):
        find_unembedding(model, True, 10)


def test_a_copy_that_no_optimizer_has_does_not_train():
    model = layers(average=Answering(), net=Answering())
    with pytest.raises(ValueError, match=r"'average\.score', 'net\.score'"):
        find_unembedding(model, True, 10)
    optimizer = torch.optim.SGD(model.net.parameters())
    model._trainer = type("Trainer", (), {"optimizers": [optimizer]})()
    assert find_unembedding(model, True, 10)[0] == "net.score"
    assert find_embedding(model, True, 10)[0] == "net.wte"


def test_a_model_that_answers_itself_is_asked_first():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = Answering(), Answering()

        def get_output_embeddings(self):
            return self.two.score

    assert find_unembedding(Whole(), True, 10)[0] == "two.score"
