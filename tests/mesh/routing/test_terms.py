"""From a text to its terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.mesh.routing.lexicon import Lexicon
from meshfleet.mesh.routing.terms import FUNCTION_WORDS, Vocabulary

BUILT_IN = Lexicon().vocabulary


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Fix the UI bug", ["fix", "ui", "bug"]),
        ("a C or R b", []),
        ("C++, c++17 and C#", ["c++", "c#"]),
        ("F# on .NET with ASP.NET", ["f#", "dotnet", "aspnet"]),
        ("Node.js node.JS nodejs node js NODE-JS", ["nodejs"]),
        ("Next.js/React", ["nextjs", "react"]),
        ("CI/CD cicd", ["cicd"]),
        ("a11y, i18n & k8s", ["a11y", "i18n", "k8s"]),
        ("front-end front end Frontend front_end", ["frontend"]),
        ("e-mail and x-ray", ["email", "xray"]),
        ("unknown-words stay_apart here/there", ["unknown", "words", "stay", "apart"]),
        ("issue #5, PR#12, HTTP 404", ["issue", "pr", "http"]),
        ("3d, 2fa, http2", ["3d", "2fa", "http2"]),
        ("the user's cart", ["user", "cart"]),
        ("machine learning", ["machine", "learning", "machine learning"]),
        ("Machine-Learning", ["machine", "learning", "machine learning"]),
        ("bug-fix, bug fix, bugfix", ["bug", "fix", "bugfix"]),
        ("write unit tests", ["write", "unit", "tests", "unit tests"]),
        ("end to end", ["end", "end to end"]),
        ("ruby on rails", ["ruby", "rails", "ruby on rails"]),
        ("bug Bug BUG", ["bug"]),
        ("red is", ["red"]),
        ("Café CAFÉ cafe\u0301", ["cafe"]),
        ("Größe \uff35\uff29", ["grosse", "ui"]),
        ("हिन्दी", ["हनद"]),
        ("界面", ["界面"]),
        ("", []),
        ("\0 \udfff \n", []),
    ],
)
def test_a_text_has_these_terms(text: str, terms: list[str]) -> None:
    assert list(BUILT_IN.terms_of(text)) == terms


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_no_text_makes_it_fail_and_every_term_is_one(text: str) -> None:
    terms = BUILT_IN.terms_of(text)
    assert len(set(terms)) == len(terms)
    for term in terms:
        assert len(term) >= 2
        assert term not in FUNCTION_WORDS
        assert term == term.casefold().strip()


@given(st.text(alphabet="ab .-_/+#'C1é\n"))
def test_upper_and_lower_case_make_no_difference(text: str) -> None:
    assert BUILT_IN.terms_of(text.upper()) == BUILT_IN.terms_of(text.lower())


@given(st.lists(st.sampled_from(sorted(Lexicon().terms)), min_size=1, max_size=5))
def test_known_terms_are_found_wherever_they_stand_in_a_text(terms: list[str]) -> None:
    assert set(terms) <= set(BUILT_IN.terms_of(", ".join(terms)))


def test_two_words_are_read_as_one_only_where_that_one_is_known() -> None:
    assert Vocabulary.of(["payroll"]).terms_of("pay-roll pay roll PAY.ROLL") == ("payroll",)
    assert Vocabulary.of(["payroll"]).terms_of("pay, roll") == ("pay", "roll")
    assert Vocabulary().terms_of("pay-roll pay roll") == ("pay", "roll")


def test_a_name_is_compared_by_its_words() -> None:
    assert [BUILT_IN.canonical(name) for name in ("CI/CD", "Front End", " Machine  Learning ", "C", "***", "")] == [
        "cicd",
        "frontend",
        "machine learning",
        "c",
        "",
        "",
    ]
