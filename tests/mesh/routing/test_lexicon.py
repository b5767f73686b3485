"""What terms have to do with each other: synonyms, the built-in taxonomy, and the user's own of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Invalid
from meshfleet.mesh.routing.lexicon import FARTHEST, LITERAL, SYNONYM, Lexicon
from meshfleet.mesh.routing.synonyms import built_in_groups
from meshfleet.mesh.routing.taxonomy import BUILT_IN, reach

PREVIEW = {"frontend": {"react": ["nextjs", "remix"], "vue": ["nuxt"]}, "backend": {"node": ["express", "fastify"]}}
OWN = {"billing": {"invoicing": {"dunning": ["collections"]}, "ledgering": "bookkeeping"}}
LEXICON = Lexicon()
KNOWN = sorted(LEXICON.terms)


def remoteness(one: str, other: str, lexicon: Lexicon = LEXICON) -> int | None:
    """How far apart two terms are; None when they have nothing to do with each other."""
    return {term: far for far, terms in lexicon.levels(one) for term in terms}.get(other)


def test_every_built_in_term_is_spelt_as_it_is_compared() -> None:
    for term in KNOWN:
        assert LEXICON.vocabulary.canonical(term) == term


def test_no_two_groups_share_a_term() -> None:
    terms = [term for group in built_in_groups() for term in group]
    assert len(set(terms)) == len(terms) > 200
    assert len(built_in_groups()) >= 40


def test_the_built_in_tree_has_no_circle_and_loses_no_link() -> None:
    for name in LEXICON._taxonomy.names:
        assert name not in dict(reach(LEXICON._taxonomy.below, name))
    links = list(_links_of(BUILT_IN))
    assert len(links) > 150
    for parent, child in links:
        assert child in LEXICON._taxonomy.below[parent]


def _links_of(tree: Any) -> Any:
    for parent, below in tree.items() if isinstance(tree, dict) else ():
        yield from ((parent, child) for child in below)
        yield from _links_of(below)


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        ("react", "react", 0),
        ("react", "jsx", 1),
        ("jsx", "react", 1),
        ("frontend", "ui", 1),
        ("c++", "cpp", 1),
        ("react", "nextjs", 2),
        ("nextjs", "react", 2),
        ("frontend", "nextjs", 3),
        ("jsx", "nextjs", 3),
        ("ui", "a11y", 4),
        ("react", "vue", None),
        ("react", "sql", None),
        ("frontend", "backend", None),
    ],
)
def test_two_terms_are_this_far_apart(one: str, other: str, far: int | None) -> None:
    assert remoteness(one, other) == far


@given(st.sampled_from(KNOWN), st.sampled_from(KNOWN))
def test_how_far_apart_two_terms_are_does_not_depend_on_which_is_asked_for(one: str, other: str) -> None:
    assert remoteness(one, other) == remoteness(other, one)


def test_every_known_term_is_nearest_to_itself_then_to_its_synonyms_then_to_its_relatives() -> None:
    for term in KNOWN:
        levels = dict(LEXICON.levels(term))
        assert list(levels) == sorted(levels)
        assert levels[LITERAL] == (term,)
        synonyms = {other for group in built_in_groups() if term in group for other in group} - {term}
        assert set(levels.get(SYNONYM, ())) == synonyms
        direct = LEXICON._taxonomy.above.get(term, set()) | LEXICON._taxonomy.below.get(term, set())
        assert direct <= {*levels.get(SYNONYM + 1, ()), *synonyms}


def test_a_word_nobody_knows_is_only_itself() -> None:
    assert LEXICON.levels("frobnicate") == ((LITERAL, ("frobnicate",)),)


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        ("react", "nextjs", 2),
        ("react", "remix", 2),
        ("frontend", "nextjs", 3),
        ("vue", "nuxt", 2),
        ("node", "express", 2),
        ("backend", "fastify", 3),
        ("react", "nuxt", None),
        ("frontend", "express", None),
        ("nextjs", "remix", None),
    ],
)
def test_the_preview_s_tree_works_as_it_is_written(one: str, other: str, far: int | None, tmp_path: Path) -> None:
    file = tmp_path / "taxonomy.json"
    file.write_text(json.dumps(PREVIEW, indent=2))
    for given_as in (json.dumps(PREVIEW), f"  {json.dumps(PREVIEW)}", str(file)):
        assert remoteness(one, other, Lexicon(given_as)) == far


def test_a_tree_may_nest_objects_lists_and_strings() -> None:
    own = Lexicon(json.dumps({**OWN, "Tax Law": [{"VAT": ["OSS"]}, "customs duty", {"excise": None}]}))
    assert remoteness("billing", "collections", own) == 4
    assert remoteness("ledgering", "bookkeeping", own) == 2
    assert remoteness("tax law", "oss", own) == 3
    assert remoteness("tax law", "customs duty", own) == 2
    assert remoteness("tax law", "excise", own) == 2


def test_the_user_s_tree_is_added_to_the_built_in_one() -> None:
    own = Lexicon('{"react": ["ourkit"], "design": {"css": "ourcss"}}')
    assert remoteness("frontend", "ourkit", own) == 3
    assert remoteness("design", "ourcss", own) == 3
    assert remoteness("frontend", "css", own) == 2


def test_where_the_trees_disagree_the_user_s_holds() -> None:
    own = Lexicon('{"nextjs": ["frontend"]}')
    assert "frontend" in own._taxonomy.below["nextjs"]
    for name in own._taxonomy.names:
        assert name not in dict(reach(own._taxonomy.below, name))
    assert remoteness("frontend", "vue", own) == 2


def test_distance_goes_on_counting_until_nothing_is_left() -> None:
    names = [f"level{letter}" for letter in "abcdefghijklmnopqrstuv"]
    tree: object = names[-1]
    for name in reversed(names[:-1]):
        tree = {name: tree}
    own = Lexicon(json.dumps(tree))
    found = [remoteness(names[0], name, own) for name in names]
    assert found == [0, *range(2, FARTHEST + 1), *[None] * (len(names) - FARTHEST)]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("{", "MESHFLEET_TAXONOMY is no JSON: line 1, column 2: expecting property name"),
        ("[]", r"MESHFLEET_TAXONOMY is \[\]; it has to be an object like"),
        ('["react"]', "MESHFLEET_TAXONOMY is "),
        ('{"a1": 1}', "MESHFLEET_TAXONOMY holds 1, where skills are expected"),
        ('{"a1": [["b1"]]}', r"MESHFLEET_TAXONOMY lists \['b1'\], where a skill is expected"),
        ('{"a1": [null]}', "MESHFLEET_TAXONOMY lists None"),
        ('{"": []}', "MESHFLEET_TAXONOMY names '', which has neither a letter nor a digit"),
        ('{"a1": [" "]}', "MESHFLEET_TAXONOMY names ' '"),
        ('{"a1": ["b1"], "a1": ["c1"]}', "MESHFLEET_TAXONOMY names 'a1' twice in one object"),
        ('{"a1": ["a1"]}', "MESHFLEET_TAXONOMY puts 'a1' below itself: 'a1 > a1'$"),
        ('{"a1": {"b1": ["A1"]}}', "MESHFLEET_TAXONOMY puts 'a1' below itself: 'a1 > b1 > a1'$"),
        (
            '{"c1": ["a1"], "a1": ["b1"], "b1": ["c1"]}',
            "MESHFLEET_TAXONOMY puts 'a1' below itself: 'a1 > b1 > c1 > a1'",
        ),
        (
            json.dumps({f"a{n}": [f"a{(n + 1) % 5000}"] for n in range(5000)}),
            "MESHFLEET_TAXONOMY puts 'a0' below itself",
        ),
        (json.dumps({f"a{n}": [f"a{n + 1}"] for n in range(5000)}), "MESHFLEET_TAXONOMY has more than 32 levels"),
        ('{"a1":' * 40 + "[]" + "}" * 40, "MESHFLEET_TAXONOMY has more than 32 levels"),
        ('{"a1":' * 100_000, "MESHFLEET_TAXONOMY is nested too deeply"),
        ('{"a1": %s}' % ("9" * 5000), "MESHFLEET_TAXONOMY holds a number of too many digits"),
        ('{"a1": NaN}', "MESHFLEET_TAXONOMY holds nan, where skills are expected"),
        (
            "~nobody-of-this-name/t.json",
            "MESHFLEET_TAXONOMY names '~nobody-of-this-name/t.json', which .*: there is no such user",
        ),
        (
            "/nowhere/taxonomy.json",
            "MESHFLEET_TAXONOMY names '/nowhere/taxonomy.json', which can't be read: no such file",
        ),
        ("/", "MESHFLEET_TAXONOMY names '/', which is no file"),
        ("a\0b", "MESHFLEET_TAXONOMY names 'a.x00b', which can't be read"),
    ],
)
def test_a_tree_that_cannot_be_is_refused_with_the_name_of_its_variable(raw: str, told: str) -> None:
    with pytest.raises(Invalid, match=f"^{told}"):
        Lexicon(raw)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff{}", "is no UTF-8 at byte 0"),
        (b"nothing", "is no JSON: line 1, column 1"),
        (b" " * 1_048_577, "is larger than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(Invalid, match=f"^MESHFLEET_TAXONOMY names '{tmp_path}/t', which {told}"):
        Lexicon(str(tmp_path / "t"))


def test_a_path_may_begin_with_the_home(home: Path) -> None:
    (home / "t.json").write_text('\ufeff{"billing": "dunning"}', encoding="utf-8")
    assert remoteness("billing", "dunning", Lexicon("~/t.json")) == 2


def test_names_are_read_like_any_text() -> None:
    own = Lexicon('{"Front-End": ["Foo.js", "C"]}', '{"Foo JS": "FooKit"}')
    assert remoteness("frontend", "foo js", own) == 2
    assert remoteness("foo js", "fookit", own) == 1


@pytest.mark.parametrize(
    "raw",
    ['{"ui": ["widgetry", "chrome"]}', '{"chrome": ["UI", "widgetry"]}', '[["ui", "widgetry", "chrome"]]'],
)
def test_the_user_s_synonyms_are_added_both_ways(raw: str) -> None:
    own = Lexicon(None, raw)
    for one, other in (("ui", "chrome"), ("chrome", "ui"), ("chrome", "widgetry"), ("ui", "frontend")):
        assert remoteness(one, other, own) == 1
    # a synonym of a synonym is none
    assert remoteness("chrome", "frontend", own) is None


def test_a_single_synonym_may_be_a_string() -> None:
    assert remoteness("wombat", "ui", Lexicon(None, '{"ui": "wombat"}')) == 1


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("{", "MESHFLEET_SYNONYMS is no JSON"),
        ('["ui"]', "MESHFLEET_SYNONYMS holds 'ui', where a list of terms is expected"),
        ('{"ui": 1}', "MESHFLEET_SYNONYMS holds 1, where a term is expected: a string"),
        ('{"ui": [["x"]]}', r"MESHFLEET_SYNONYMS holds \['x'\], where a term is expected"),
        ('{"ui": null}', "MESHFLEET_SYNONYMS holds None"),
        (json.dumps([["ui"] * 101]), "MESHFLEET_SYNONYMS has a group of 101 terms; at most 100 are possible"),
        (json.dumps({"ui": [f"w{n}" for n in range(100)]}), "MESHFLEET_SYNONYMS has a group of 101 terms"),
        ('{"ui": "!"}', "MESHFLEET_SYNONYMS holds '!', which has neither a letter nor a digit"),
        ("nowhere.json", "MESHFLEET_SYNONYMS names 'nowhere.json', which can't be read"),
    ],
)
def test_synonyms_that_cannot_be_are_refused_with_the_name_of_their_variable(raw: str, told: str) -> None:
    with pytest.raises(Invalid, match=f"^{told}"):
        Lexicon(None, raw)
