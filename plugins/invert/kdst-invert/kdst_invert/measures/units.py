"""A text as units that carry meaning: words of any script, numbers with sign and decimal mark, symbols.

Words by `\\w` lose the vowel signs of Indic scripts, take a Chinese sentence for one word, and a number
for the same whatever its sign.
"""

import unicodedata
from collections.abc import Iterator

import regex

CLOSE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without space between words, whose characters are units of their own."""
LETTER = rf"[[\p{{L}}\p{{M}}_]--[{CLOSE}]]"
WORD = rf"{LETTER}[[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d]--[{CLOSE}]]*"
NUMBER = r"(?:(?<![\p{L}\p{M}\p{N})\]])[-+])?\p{Nd}+(?:[.,]\p{Nd}+)*"
AFTER = r"(?<=\p{L})-(?![\p{L}\p{N}])"
"""A minus behind a word, as in a blood group."""
PATTERN = (
    rf"{NUMBER}|[{CLOSE}]\p{{M}}*|{WORD}(?:['’]{WORD})*|[\p{{No}}\p{{Nl}}]|[%‰\p{{S}}]|{AFTER}"
)
UNIT = regex.compile(rf"(?V1){PATTERN}")
OTHER = regex.compile(rf"[{CLOSE}]|\p{{L}}\p{{M}}")
PIECE = regex.compile(rf"(?V1)(?:{PATTERN}|\S)\s*")
SAME = str.maketrans(
    {"−": "-", "﹣": "-", "－": "-", "–": "-", "’": "'", "٫": ".", "٬": ",", "％": "%"}
    | dict.fromkeys(map(chr, (0xAD, 0x200B, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10))), "")
)
"""Marks that mean the same as others, and those that are not seen: soft hyphens, joins, variants."""
WIDE = regex.compile(r"[\uff0e\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uff9f]+")
"""Digits, letters and point of full width, and kana of half width; a comma of full width parts numbers."""

MONTH = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|"
    "Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|"
    "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|"
    "gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
)
ORDINAL = r"(?:st|nd|rd|th|er|\.|º)?"
DATE = regex.compile(
    rf"\d{{1,4}}([./-])\d{{1,2}}\1\d{{1,4}}"
    rf"|\d{{1,2}}{ORDINAL} +(?:of +|de +)?(?:{MONTH})\b\.?(?:,? +\d{{4}})?"
    rf"|\b(?:{MONTH})\.? +\d{{1,2}}{ORDINAL}(?:,? +\d{{4}})?|\d+ *[年月日号號]"
)
MEASURE = regex.compile(
    r" ?(?:%|°|[mkcµμn]?g\b|mcg\b|[mdcµμ]?[lL]\b|[mµμ]?mol\b|[cmk]?m\b|mmHg\b|IU\b|units?\b|bpm\b|kcal\b)"
)
PART = regex.compile(r"[/:]\d")


def units(text: str) -> list[str]:
    """The units of a text, without regard to case and to how characters are composed."""
    plain = WIDE.sub(_usual_width, unicodedata.normalize("NFC", text)).translate(SAME)
    return [_same(found) for found in UNIT.findall(plain)]


def _usual_width(found: "regex.Match[str]") -> str:
    """Return characters of full or half width as they are usually written."""
    return unicodedata.normalize("NFKC", found.group())


def breaks_words(text: str) -> bool:
    """Whether a text has letters that words by `\\w` take wrongly: of scripts without spaces, or with signs
    that are letters' parts."""
    return OTHER.search(unicodedata.normalize("NFC", text)) is not None


def _same(unit: str) -> str:
    """A unit as it is compared: digits of any script as 0 to 9, without a plus before a number."""
    digits = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in unit.casefold())
    return digits.removeprefix("+") if digits[-1:].isdecimal() else digits


def pieces(text: str) -> list[str]:
    """The units of a text and the marks between them, as they are written, with the space behind each."""
    return PIECE.findall(text)


def is_count(value: str) -> bool:
    """Whether a value is a bare whole number, such as an age, that may stand in a text as another thing."""
    return value.strip().isdecimal()


def roles(text: str, number: str) -> set[str]:
    """What a bare number stands for in a text: a date, a quantity, part of something, or plainly."""
    return set(_roles(text.translate(SAME), number.strip()))


def _roles(text: str, number: str) -> Iterator[str]:
    """The role of every place where the number stands by itself."""
    dates = [found.span() for found in DATE.finditer(text)]
    for found in regex.finditer(
        rf"(?<![\p{{N}}\p{{L}}]|\p{{N}}[.,/:])(?<!(?<![\p{{L}}\p{{N}}])-){number}", text
    ):
        rest = text[found.end() :]
        if regex.match(r"\p{N}|[.,]\p{N}", rest):
            continue
        if any(start <= found.start() and found.end() <= end for start, end in dates):
            yield "date"
        elif MEASURE.match(rest):
            yield "quantity"
        else:
            yield "part" if PART.match(rest) else "plain"
