import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from lightning_semgeom.attributes.vocabulary import Vocabulary
from tests.attributes import vocabularies

KINDS = ["byte_level", "sentence_piece", "unigram", "word_piece"]
TEXTS = {
    "byte_level": {
        "Ġdog": " dog", "eError": "eError", "naÃ¯ve": "naïve", "ĠStraÃŁe": " Straße",
        "ĠÐºÐ¾ÑĤ": " кот", "Ã": None, "<|end|>": None, "<tool>": "<tool>",
    },
    "sentence_piece": {
        "▁dog": " dog", "eError": "eError", "▁кот": " кот", "<0x0A>": "\n", "<0xC3>": None,
        "<s>": None, "<unk>": None,
    },
    "unigram": {"▁dog": " dog", "og": "og", "▁": " ", "<pad>": None, "<extra_id_0>": None},
    "word_piece": {
        "dog": " dog", "##eerror": "eerror", "straße": " straße", "!": " !", "#": None,
        "[CLS]": None, "[unused1]": None,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(kind):
    return getattr(vocabularies, kind)()


def test_tokens_are_text_with_the_space_before_them(kind, tokenizer):
    texts = Vocabulary.of(tokenizer).texts
    assert len(texts) == tokenizer.get_vocab_size()
    ids = {token: tokenizer.token_to_id(token) for token in TEXTS[kind]}
    known = {token: text for token, text in TEXTS[kind].items() if ids[token] is not None}
    assert len(known) >= 5
    assert {token: texts[ids[token]] for token in known} == known


def test_texts_of_a_line_s_tokens_are_the_line(kind, tokenizer):
    texts = Vocabulary.of(tokenizer).texts
    line = "the cat" if kind == "unigram" else vocabularies.LINES[0]
    ids = tokenizer.encode(line, add_special_tokens=False).ids
    assert "".join(texts[token] for token in ids).removeprefix(" ") == line


def test_words_are_the_token_that_the_tokenizer_makes_of_them(kind, tokenizer):
    vocabulary = Vocabulary.of(tokenizer)
    words = ["dog", "cat", "paris", "Paris", "zebra", "dog", ""]
    found = [None if t is None else vocabulary.texts[t] for t in vocabulary.single_tokens(words)]
    # T5's has the capitalised word alone, BERT's no capitals.
    paris = {"unigram": [" Paris"] * 2, "word_piece": [" paris"] * 2}.get(
        kind, [" paris", " Paris"]
    )
    assert found == [" dog", " cat", *paris, None, " dog", None]


def test_a_word_is_tried_with_a_space_then_without_then_capitalised():
    tokenizer = vocabularies.byte_level()
    vocabulary = Vocabulary.of(tokenizer)
    texts = [vocabulary.texts[t] for t in vocabulary.single_tokens(["dog", "naïve", "the", "The"])]
    assert texts == [" dog", "naïve", " the", "The"]
    assert vocabulary.single_tokens(["nasA"]) == [None]  # it has " NASA" alone


def test_an_unknown_word_is_not_the_unknown_token(tokenizer):
    vocabulary = Vocabulary.of(tokenizer)
    assert vocabulary.single_tokens(["<unk>", "[UNK]", "水"]) == [None, None, None]


def test_a_word_known_in_another_spelling_alone_is_not_the_unknown_token():
    model = models.WordPiece({"[UNK]": 0, "Paris": 1, "##s": 2}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    assert tokenizer.encode("pArIs").ids == [0]
    vocabulary = Vocabulary.of(tokenizer)
    assert vocabulary.texts[0] is not None  # nobody said that it is special
    assert vocabulary.single_tokens(["pArIs", "Paris"]) == [None, 1]


def test_transformers_wrap_the_same_vocabulary(tokenizer):
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    ours, theirs = Vocabulary.of(tokenizer), Vocabulary.of(wrapped)
    assert ours.texts == theirs.texts
    for words in (["dog", "cat", "Paris", "zebra"], ["zebra"], []):
        assert ours.single_tokens(words) == theirs.single_tokens(words)


def test_a_tokenizer_that_pads_and_cuts_is_read_as_one_that_does_not():
    tokenizer = vocabularies.word_piece()
    expected = Vocabulary.of(tokenizer).single_tokens(["dog", "zebra"])
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(4)
    assert Vocabulary.of(tokenizer).single_tokens(["dog", "zebra"]) == expected


class Plain:
    """A tokenizer of transformers without anything but these tokens."""

    def __init__(self, *tokens):
        self.tokens = tokens
        self.added_tokens_decoder = {}

    def get_vocab(self):
        return {token: number for number, token in enumerate(self.tokens)}


@pytest.mark.parametrize(
    "tokens",
    [
        ("dog", "cat"),
        ("dog</w>", "cat</w>", "##", "i"),
        tuple(map(chr, range(40, 700))),  # "\u0120" is among them
    ],
)
def test_a_vocabulary_that_does_not_say_where_words_begin_is_refused(tokens):
    with pytest.raises(TypeError, match=r"of this Plain do not say where words begin: .*'##piece'"):
        Vocabulary.of(Plain(*tokens))


def test_rooms_kept_free_and_special_ids_have_no_text():
    tokenizer = Plain("<pad>", "▁dog", "<unused7>", "[unused8]", "og")
    tokenizer.all_special_ids = [0]
    assert Vocabulary.of(tokenizer).texts == (None, " dog", None, None, "og")


def test_runs_of_spaces_among_added_tokens_are_spaces():
    tokenizer = vocabularies.sentence_piece()
    added = ["▁▁", "▁▁▁▁", "<unused0>"]
    tokenizer.add_tokens(added)
    texts = Vocabulary.of(tokenizer).texts
    assert [texts[tokenizer.token_to_id(token)] for token in added] == ["  ", "    ", None]


@pytest.mark.parametrize("tokenizer", ["gpt2", None, object()])
def test_what_is_no_tokenizer_is_refused(tokenizer):
    with pytest.raises(TypeError, match=r"tokenizer is a \w+; expected a tokenizers.Tokenizer or"):
        Vocabulary.of(tokenizer)
