import pytest
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


def test_transformers_wrap_the_same_vocabulary(tokenizer):
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    ours, theirs = Vocabulary.of(tokenizer), Vocabulary.of(wrapped)
    assert ours.texts == theirs.texts
    words = ["dog", "cat", "Paris", "zebra"]
    assert ours.single_tokens(words) == theirs.single_tokens(words)


def test_a_tokenizer_that_pads_and_cuts_is_read_as_one_that_does_not():
    tokenizer = vocabularies.word_piece()
    expected = Vocabulary.of(tokenizer).single_tokens(["dog", "zebra"])
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(4)
    assert Vocabulary.of(tokenizer).single_tokens(["dog", "zebra"]) == expected


def test_words_alone_are_their_own_text():
    class Plain:
        added_tokens_decoder = {}  # noqa: RUF012

        def get_vocab(self):
            return {"dog": 0, "cat": 3}

    assert Vocabulary.of(Plain()).texts == ("dog", None, None, "cat")


@pytest.mark.parametrize("tokenizer", ["gpt2", None, object()])
def test_what_is_no_tokenizer_is_refused(tokenizer):
    with pytest.raises(TypeError, match=r"tokenizer is a \w+; expected a tokenizers.Tokenizer or"):
        Vocabulary.of(tokenizer)
