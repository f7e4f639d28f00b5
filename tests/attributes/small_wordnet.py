"""A WordNet database of a few words."""

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


def written(folder, more=()):
    """The folder, with the database in it; `more`: pairs of a noun and its file's number."""
    nouns = [(f"0001{place:04d}", number, word) for place, (word, number) in enumerate(more)]
    data = DATA | {"noun": DATA["noun"] + nouns}
    lines_of = {**INDEX, "noun": INDEX["noun"] + [f"{w} n 1 0 1 0 {o}" for o, _, w in nouns]}
    for part, synsets in data.items():
        lines = [f"{offset} {lex:02d} n 01 {word} 0 000 | gloss" for offset, lex, word in synsets]
        (folder / f"data.{part}").write_text(LICENCE + "\n".join(lines) + "\n")
        (folder / f"index.{part}").write_text(LICENCE + "  \n".join(lines_of[part]) + "  \n")
    return folder
