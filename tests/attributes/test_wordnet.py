"""Supersenses from a database folder: a small one made here, and Debian's where it is installed."""

from pathlib import Path

import pytest

from lightning_semgeom import AttributeTable
from lightning_semgeom.attributes.wordnet import supersenses
from tests.attributes import vocabularies

DEBIAN = Path("/usr/share/wordnet")
LICENCE = "  1 This software and database is being provided to you.  \n"
# Numbers of lexicographer files from lexnames(5WN): 05 animal, 17 object, 15 location, 38 motion.
DATA = {
    "noun": [("00000101", 5, "dog"), ("00000202", 5, "cat"), ("00000303", 17, "river"),
             ("00000404", 15, "Paris"), ("00000505", 5, "bird"), ("00000606", 17, "bird")],
    "verb": [("00000707", 38, "saw"), ("00000808", 38, "dog")],
    "adj": [("00000909", 0, "near")],
    "adv": [("00001010", 2, "near"), ("00001111", 2, "far")],
}  # fmt: skip
INDEX = {
    "noun": [
        "dog n 1 2 @ ~ 1 1 00000101", "cat n 1 0 1 0 00000202", "river n 1 1 @ 1 1 00000303",
        "paris n 1 1 @ 1 0 00000404", "bird n 2 1 @ 2 1 00000505 00000606",
        "hot_dog n 1 1 @ 1 0 00000101",
    ],
    "verb": ["saw v 1 1 @ 1 1 00000707", "dog v 1 0 1 0 00000808"],
    "adj": ["near a 1 0 1 1 00000909"],
    "adv": ["near r 1 0 1 1 00001010", "far r 1 0 1 1 00001111"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for part, synsets in DATA.items():
        lines = [f"{offset} {lex:02d} n 01 {word} 0 000 | gloss" for offset, lex, word in synsets]
        (tmp_path / f"data.{part}").write_text(LICENCE + "\n".join(lines) + "\n")
        (tmp_path / f"index.{part}").write_text(LICENCE + "  \n".join(INDEX[part]) + "  \n")
    return tmp_path


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
