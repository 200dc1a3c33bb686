# SPDX-License-Identifier: MIT
"""Recognise the passwords that everybody guesses first.

Public lists of leaked passwords show the same few habits over and over: a word or a name with a few digits
behind it, a word with another that everybody joins to it, a walk over the keyboard, something repeated, a
date. So the kit carries no such list, nor its licence: it keeps a vocabulary of its own
(`common_words.py`, some 4,600 words) and knows the habits. Together they stand for millions of passwords.

What they cannot know is the odd ones of a real leak. Measured on the public list in the zxcvbn package,
they recognise all of the 100 most frequent passwords of eight or more characters, three quarters of the
1,000 and three fifths of the 3,000 most frequent. OWASP ASVS 5.0, 6.2.4, asks for all of these: a site that
wants the rest as well gives `Users` such a list as `extra_common_passwords`.

Sources: NIST SP 800-63B-4, section 3.1.1.2, on what a block list holds: passwords from earlier breaches,
dictionary words, words of the context (those are in `password_rule.py`); OWASP ASVS 5.0, 6.2.4, 6.2.11
and 6.2.12.
"""

from __future__ import annotations

import re
import string

from stormcellar.accounts.common_words import NAMES, WORDS

_LONGEST = 32  # nothing longer is common

VOCABULARY = WORDS | NAMES
_CUT_TO_EIGHT = frozenset(word[:8] for word in VOCABULARY)  # as old systems did: "liverpoo"

# What people join to a word, in front or behind.
_FRONT = {"a", "i", "im", "iam", "my", "our", "the", "mr", "miss", "old", "new", "hot", "big", "bad", "best",
          "super", "little", "love", "ilove", "baby", "cool", "sexy"}  # fmt: skip
_BEHIND = {"s", "z", "er", "boy", "girl", "man", "lover", "love", "fan", "baby", "king", "rocks", "rules",
           "sucks", "one", "xx", "xxx", "abc"}  # fmt: skip

# How a rule that asks for digits and signs is satisfied with the least thought.
_TRIMMINGS = string.digits + string.punctuation + string.whitespace
_LONGEST_TRIMMING = 5  # "2024!"; longer only as a keyboard walk: "123456"

# A p@ssw0rd fools nobody. Each lookalike stands for one letter, except that 1 may be i or l.
_LOOKALIKES = [str.maketrans("@4301!5$7", f"aaeo{one}isst") for one in "il"]
_BETWEEN = str.maketrans("", "", " .-_")

# A Russian word on the keys of a Latin keyboard: gfhjkm.
_RUSSIAN_KEYS = str.maketrans("qwertyuiop[]asdfghjkl;'zxcvbnm,.", "йцукенгшщзхъфывапролджэячсмитьбю")

# Keys that lie next to one another, on keyboards of several countries and on number blocks.
_ROWS = """
    01234567890 abcdefghijklmnopqrstuvwxyz !@#$%^&*() !"§$%&/()=
    qwertyuiop[] asdfghjkl;' zxcvbnm,./ qwertzuiop yxcvbnm azertyuiop qsdfghjklm wxcvbn
    йцукенгшщзхъ фывапролджэ ячсмитьбю
    1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p 1q2w3e4r5t6y7u8i9o0p q1w2e3r4t5y6u7i8o9p0 a1b2c3d4e5f6g7h8
    1a2b3c4d5e6f7g8h qazwsxedcrfvtgbyhnujm qawsedrftgyhujikolp 12qwaszx34erdfcv 1qazxsw23edcvfr4 !qaz@wsx#edc
    789456123 147258369 741852963 159357 753951 14789632 adgjmptw z1x2c3v4b5n6
"""
_NEIGHBOURS = "\n".join(keys for row in _ROWS.split() for keys in (row, row[::-1]))
_SHORTEST_RUN = 3
_MOST_KEYS_OUTSIDE_RUNS = 2

_REPEATED_KEYS = re.compile(r"(.)\1+", re.DOTALL)
_REPEATED_UNIT = re.compile(r"(.{1,4}?)\1+.{0,2}", re.DOTALL)

_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"  # or month: the order differs between countries
_YEAR = r"(?:19|20)[0-9]{2}"
_SIGN = "[ ./-]?"
_DATE = re.compile(f"{_DAY}{_SIGN}{_DAY}{_SIGN}{_YEAR}|{_YEAR}{_SIGN}{_DAY}{_SIGN}{_DAY}")


def is_common(password: str) -> bool:
    """Whether a password is one of the first that anybody would try. Case makes no difference."""
    text = password.casefold()
    return len(text) <= _LONGEST and (
        _is_walk(text)
        or _is_walk(_REPEATED_KEYS.sub(r"\1", text))  # 11223344, aaaabbbb
        or _REPEATED_UNIT.fullmatch(text) is not None  # 12121212, abcabcabc, lovelove1
        or _DATE.fullmatch(text) is not None
        or _is_word_with_trimmings(text)
    )


def _is_walk(text: str) -> bool:
    """Runs over neighbouring keys, one after another, but for two keys: qwerty123, zaq12wsx, abcd1234x."""
    outside = position = 0
    while position < len(text) and outside <= _MOST_KEYS_OUTSIDE_RUNS:
        end = position
        while end < len(text) and text[position : end + 1] in _NEIGHBOURS:
            end += 1
        if end - position >= _SHORTEST_RUN:
            position = end
        else:
            position += 1
            outside += 1
    return outside <= _MOST_KEYS_OUTSIDE_RUNS


def _is_word_with_trimmings(text: str) -> bool:
    """A word of the vocabulary with digits and signs around it: 12monkey, P@ssw0rd2024!, i love you."""
    if _is_word(text):
        return True  # the vocabulary has words with digits of their own: blink182
    without_end = text.rstrip(_TRIMMINGS)
    word = without_end.lstrip(_TRIMMINGS)
    end, front = text[len(without_end) :], without_end[: len(without_end) - len(word)]
    return all(len(part) <= _LONGEST_TRIMMING or _is_walk(part) for part in (end, front)) and _is_word(word)


def _is_word(text: str) -> bool:
    plain = text.translate(_BETWEEN)
    spellings = {plain, text.translate(_RUSSIAN_KEYS), *(plain.translate(table) for table in _LOOKALIKES)}
    return any(_is_listed(spelling) for spelling in spellings)


def _is_listed(word: str) -> bool:
    """In the vocabulary: as it is, backwards, cut, twice, or with one of the usual additions."""
    half = len(word) // 2
    return (
        word in VOCABULARY
        or word in _CUT_TO_EIGHT
        or word[::-1] in VOCABULARY
        or (word[:half] == word[half:] and word[:half] in VOCABULARY)
        or any(word[:cut] in _FRONT and word[cut:] in VOCABULARY for cut in range(1, 7))
        or any(word[-cut:] in _BEHIND and word[:-cut] in VOCABULARY for cut in range(1, 7))
    )
