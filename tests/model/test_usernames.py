"""Which names are the same, and which new ones are refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.usernames import (
    ACCENT,
    BLANK,
    COLON,
    COMPATIBILITY,
    COMPOSED,
    LOOKALIKE,
    MIXED,
    SYMBOL,
    AmbiguousName,
    KnownName,
    folded,
    is_storable,
    meant_by,
    objection,
    objection_to_name,
)

# Few letters, in many spellings, so that names often are the same.
SPELLINGS = st.text(
    st.sampled_from("bBｂ𝐛ßẞsSſσςΣeéÉ\u0301kK\u212aİi\u0307"), min_size=1, max_size=4
)
KNOWN = st.lists(
    st.builds(KnownName, username=SPELLINGS, email=st.one_of(st.just(""), SPELLINGS)),
    max_size=5,
    unique_by=lambda one: one.username,
)


@given(st.text())
def test_a_folded_name_is_folded(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(st.text())
def test_all_normal_forms_are_the_same_name(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, text)) == folded(text)


@given(st.text())
def test_capitals_do_not_count(text: str) -> None:
    text = text.replace("ı", "i")  # its capital is I, which is also that of i
    assert folded(text.upper()) == folded(text) == folded(text.casefold())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "bob",
            "Bob",
            "bob@example.org",
            "o'neil+1@example.org",
            "x_1-2.3",
            "é",
            "Łukasz Đorđe Nguyễn Ștefan Ɓello İbrahim".replace(" ", ""),
            "straße",
        ),
        *(
            "иван",
            "йод",
            "γιώργος",
            "山田たろう",
            "佐々木",
            "カタカナー",
            "김철수",
            "عمر",
            "مُحَمَّد",
            "राम",
            "9",
        ),
        *("שרה", "יוסי", "สมชาย", "မောင်", "தமிழ்", "തോമസ്", "ខ្មែរ", "འབྲུག", "አበበ", "გიორგი", "Արմեն"),
        *("a!#$%&'*/=?^_`{|}~-b@example.org", '"ab"@example.org'),
        *("bob@пример.рф", "bob@пример.рус", "bob@münchen.example"),
    ],
)
def test_people_may_write_their_names_in_their_own_script(name: str) -> None:
    assert objection(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bоb", MIXED),
        ("Ivan-Иван", MIXED),
        ("bɑb", MIXED),
        ("ꓐob", MIXED),
        ("bоb@example.org", MIXED),
        ("bob@exаmple.org", MIXED),
        ("сосо", LOOKALIKE),
        ("ВОВ", LOOKALIKE),
        ("ρου", LOOKALIKE),
        ("bob@аррӏе.com", LOOKALIKE),
        ("ｂｏｂ", COMPATIBILITY),
        ("𝐛𝐨𝐛", COMPATIBILITY),
        ("ﬁn", COMPATIBILITY),
        *(
            (one, MIXED)
            for one in ("admın", "lǀ", "ǃ", "ɩ", "Ƅob", "ꜱam", "ĸen", "Ðan", "ǝ", "ꙑ", "ᴦ")
        ),
        *((one, MIXED) for one in ("\u110b", "ס\u0335")),
        *((one, SYMBOL) for one in ("anna‐maria", "a−b", "a꞉b", "\u037e", "a⁄b", "a∕b", "a·b")),
        *((one, SYMBOL) for one in ("oʼneil", "ʻa", "b०b", "〇", "عـمر", "➀")),
        *(
            (one, ACCENT)
            for one in ("b\u0335ob", "bob\u0336", "а\u0301", "\u0c02", "1\u0301", "ẹ\u0300")
        ),
        *((one, COMPOSED) for one in ("e\u0301", "й".replace("й", "и\u0306"), "\u212a")),
        *((one, LOOKALIKE) for one in ("סס", "ဝဝ", "ഠ", "丨", "هه", "ყ")),
    ],
)
def test_a_name_that_looks_like_another_is_refused(name: str, why: str) -> None:
    assert objection(name) == why


def test_a_name_has_no_colon() -> None:
    """Basic authentication would take what follows it for the password."""
    assert objection_to_name("a:b") == COLON
    assert objection_to_name("bob@[::1]") == COLON
    assert objection_to_name("bоb:") == MIXED
    assert objection_to_name("bob") is objection("bob@[::1]") is None


# One of each kind: blanks, controls, marks and letters that show nothing, half a pair, unassigned.
UNSEEN = (
    " \t\n\0\u00a0\u00ad\u034f\u115f\u180b\u200b\u200d\u202e\u2028\u2060\u2800\u3000\u3164\ufe0f"
)
UNSEEN += "\ufeff\uffa0\U000e0101\U000e0041\ud800\ue000\u0378"


@given(name=st.text("bo", min_size=1), place=st.integers(0), unseen=st.sampled_from(UNSEEN))
def test_nothing_unseen_is_in_a_name(name: str, place: int, unseen: str) -> None:
    place %= len(name) + 1
    assert objection(name[:place] + unseen + name[place:]) == BLANK


@given(st.text())
def test_a_name_without_objection_can_be_seen_and_stored(text: str) -> None:
    if objection(text) is None:
        assert text.isprintable()
        assert is_storable(text)
        assert " " not in text


@given(called=SPELLINGS, known=KNOWN)
def test_the_exact_name_comes_first(called: str, known: list[KnownName]) -> None:
    others = [one for one in known if one.username != called]
    assert meant_by(called, [*others, KnownName(username=called, email="")]) == called


@given(called=SPELLINGS, known=KNOWN)
def test_no_second_user_of_the_same_name_can_be_made(called: str, known: list[KnownName]) -> None:
    alike = [one.username for one in known if folded(one.username) == folded(called)]
    try:
        meant = meant_by(called, known)
    except AmbiguousName:
        assert len(alike) > 1
    else:
        assert meant is not None or not alike


@given(called=SPELLINGS, known=KNOWN)
def test_who_is_meant_is_known_and_called_so(called: str, known: list[KnownName]) -> None:
    try:
        meant = meant_by(called, known)
    except AmbiguousName:
        return
    if meant is not None:
        (one,) = [one for one in known if one.username == meant]
        assert folded(called) in (folded(one.username), folded(one.email))
