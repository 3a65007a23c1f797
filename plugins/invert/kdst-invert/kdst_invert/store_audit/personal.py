"""Personal data in the texts: what the store's own columns repeat, and what presidio-analyzer finds."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from kdst_invert.measures.recovery import says
from kdst_invert.measures.units import units
from kdst_invert.store_audit.leakage import Values
from kdst_invert.stores.table import Columns

LANGUAGE = "en"
SURE = 0.4
"""Score of presidio from which a finding counts; its patterns without context have .3 and less."""
KINDS = {
    "PERSON": "person",
    "EMAIL_ADDRESS": "e-mail address",
    "PHONE_NUMBER": "telephone number",
    "IBAN_CODE": "IBAN",
    "CREDIT_CARD": "card number",
    "IP_ADDRESS": "IP address",
    "US_SSN": "social security number",
    "DATE_TIME": "date",
    "LOCATION": "place",
}
MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")
"""Models of spaCy that find names and places; the first that is installed is taken."""
ENGLISH = (
    "Personal data were looked for as they are written in English; in texts of other languages names,"
    " places and dates may be missed."
)
PATTERNS_ONLY = (
    "Names of people and places were not looked for in the texts: no English model of spaCy is"
    " installed."
)
NOT_LOOKED = (
    "Personal data were not looked for in the texts: pip install 'kdst-invert[personal]'. What was read"
    " of whole texts counts all words alike."
)


def values_of(texts: Sequence[str], columns: Columns, search: bool) -> tuple[Values, list[str]]:
    """For each text its personal values by kind, and what was not looked for.

    A column whose values stand word for word in their texts is a kind of its own.
    """
    found: list[dict[str, list[str]]] = [
        _repeated(text, columns, i) for i, text in enumerate(texts)
    ]
    said: list[str] = []
    if not search:
        return found, ["Personal data were not looked for in the texts, as was asked."]
    analyzer, said = _analyzer()
    if analyzer is not None:
        for text, row in zip(texts, found, strict=True):
            _add(row, analyzer.analyze(text=text, language=LANGUAGE, entities=[*KINDS]), text)
    return found, said


def _repeated(text: str, columns: Columns, row: int) -> dict[str, list[str]]:
    """Values of the columns that the text repeats."""
    found = {}
    for name, values in columns.items():
        value = values[row]
        if isinstance(value, str | int) and not isinstance(value, bool):
            value = str(value)
            if is_telling(value) and value != text and says(text, value):
                found[f"column {name}"] = [value]
    return found


def is_telling(value: str) -> bool:
    """Whether a value is long enough to say something: three characters, or two of a script without
    spaces, such as a Chinese name."""
    count = len(units(value))
    return count > 1 or (count == 1 and len(value.strip()) > 2)


def _add(row: dict[str, list[str]], results: Sequence[Any], text: str) -> None:
    """Add what an analyzer found, the surest first; a span counts once."""
    taken: list[range] = []
    for found in sorted(results, key=lambda r: (-r.score, r.start)):
        span = range(found.start, found.end)
        if found.score < SURE or any(s.start < span.stop and span.start < s.stop for s in taken):
            continue
        taken.append(span)
        value = text[found.start : found.end]
        if units(value):
            row.setdefault(KINDS[found.entity_type], []).append(value)


def _analyzer() -> tuple[Any, list[str]]:
    """presidio's analyzer with the best model that is installed, or with its patterns alone."""
    try:
        presidio = importlib.import_module("presidio_analyzer")
        nlp = importlib.import_module("presidio_analyzer.nlp_engine")
        spacy = importlib.import_module("spacy")
    except ImportError:
        return None, [NOT_LOOKED]
    model = next((m for m in MODELS if spacy.util.is_package(m)), None)
    engine = nlp.SpacyNlpEngine(models=[{"lang_code": LANGUAGE, "model_name": model or "blank"}])
    if model is None:
        engine.nlp = {
            LANGUAGE: spacy.blank(LANGUAGE)
        }  # tokens alone, so that nothing is downloaded
    registry = presidio.RecognizerRegistry(supported_languages=[LANGUAGE])
    registry.load_predefined_recognizers(languages=[LANGUAGE], nlp_engine=engine)
    made = presidio.AnalyzerEngine(
        registry=registry, nlp_engine=engine, supported_languages=[LANGUAGE]
    )
    return made, [ENGLISH] if model else [ENGLISH, PATTERNS_ONLY]


def kinds(values: Values) -> Mapping[str, int]:
    """How many values of each kind there are."""
    counts: dict[str, int] = {}
    for row in values:
        for kind, found in row.items():
            counts[kind] = counts.get(kind, 0) + len(found)
    return counts
