"""Which passwords may be chosen."""

import unicodedata

import pytest

from domain.passwords import weakness
from infra.security import Argon2Passwords

COMMON = Argon2Passwords(hashers=1).common
NAMES = ("haruto", "haruto.sato@example.org")


def found(password: str, shortest: int = 15) -> str | None:
    return weakness(password, names=NAMES, common=COMMON, shortest=shortest)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "우리 집 고양이는 매일 밤 노래를 부른다",
        "the harbour master sleeps",
        "haruto likes wide open seas",
        "N0-composition-rul3s",
        "x9-Kq2_vR7.tLp4",
        "ㅎ" * 7 + "harbour and sea",
    ],
)
def test_a_long_password_of_ones_own_is_good(password: str) -> None:
    assert found(password) is None


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("fourteen chars", "at least 15"),
        ("a b" * 50, "at most 128"),
        ("PassWord12345678", "common"),
        ("...dragon-2024-11", "common"),
        ("aaaaaaaaaaaaaaaa", "repeats"),
        ("harborharborharb", "repeats"),
        ("123456789012345678", "keyboard"),
        ("zyxwvutsrqponmlkj", "keyboard"),
        ("qwertyuiopasdfgh", "keyboard"),
        ("haruto-haruto.sato", "username"),
        ("moorage-HARUTO-1234", "username"),
        ("haruto.sato@example.org", "username"),
    ],
)
def test_what_is_guessed_first_is_refused_with_the_reason(password: str, why: str) -> None:
    reason = found(password)

    assert reason is not None
    assert why in reason
    assert password not in reason


@pytest.mark.parametrize("password", ["iloveyou", "Sunshine", "trustno1", "baseball1"])
def test_short_common_ones_are_refused_where_eight_characters_are_allowed(password: str) -> None:
    assert found(password, shortest=8) is not None


def test_code_points_are_counted_after_composing_them() -> None:
    composed = "각각각각각각각각각각각각나다라마"
    decomposed = unicodedata.normalize("NFD", composed)

    assert (len(composed), len(decomposed) > 30) == (16, True)
    assert (found(composed), found(decomposed)) == (None, None)
    assert found(decomposed, shortest=17) is not None


def test_the_list_is_long_and_in_lower_case() -> None:
    assert len(COMMON) >= 10_000
    assert not [word for word in COMMON if word != word.lower()]
