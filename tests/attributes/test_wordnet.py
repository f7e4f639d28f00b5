"""Supersenses from a database folder: a small one made here, and Debian's where it is installed."""

from pathlib import Path

import pytest

from lightning_semgeom import AttributeTable
from lightning_semgeom.attributes.wordnet import supersenses
from tests.attributes import vocabularies
from tests.attributes.small_wordnet import written

DEBIAN = Path("/usr/share/wordnet")


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path)


def test_each_single_word_has_the_supersenses_of_all_its_senses(folder):
    assert supersenses(folder) == {
        "dog": {"noun.animal", "verb.motion"},
        "cat": {"noun.animal"},
        "river": {"noun.object"},
        "paris": {"noun.location"},
        "bird": {"noun.animal", "noun.object"},
        "saw": {"verb.motion"},
        "near": {"adj.all", "adv.all"},
        "far": {"adv.all"},
    }


def test_tokens_with_one_supersense_are_labelled(folder):
    tokenizer = vocabularies.byte_level()
    table = AttributeTable.wordnet(tokenizer, folder, min_count=1)
    codes = {
        tokenizer.id_to_token(token): table.values[0][code]
        for token, code in enumerate(table.codes[:, 0].tolist())
        if code >= 0
    }
    assert codes == {
        "Ġcat": "noun.animal", "Ġriver": "noun.object", "Ġparis": "noun.location",
        "Ġsaw": "verb.motion", "Ġfar": "adv.all",
    }  # fmt: skip
    coverage = table.coverage()["supersense"]
    assert coverage.ambiguous == ("dog", "bird", "near")
    assert coverage.no_token == ()


def test_what_is_no_database_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no WordNet file at '.*data.noun'; give the fol"):
        supersenses(tmp_path / "elsewhere")
    file = folder / "index.noun"
    whole = file.read_text()
    file.write_text(whole + "no word\n")
    with pytest.raises(ValueError, match=r"index.noun, line 8: not a word of WordNet's index"):
        supersenses(folder)
    file.write_text(whole + "stray n 1 0 1 0 09999999\n")
    with pytest.raises(
        ValueError, match=r"index.noun, line 8: names a synset that data.noun lacks"
    ):
        supersenses(folder)
    (folder / "data.noun").write_text("00000101 99 n\n")
    with pytest.raises(ValueError, match=r"data.noun, line 1: not a synset of WordNet"):
        supersenses(folder)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's wordnet-base is not installed")
def test_debian_s_database_is_read():
    found = supersenses(DEBIAN)
    assert len(found) > 80_000
    assert found["giraffe"] == {"noun.animal"}
    assert {"noun.animal", "verb.motion"} <= found["dog"]
