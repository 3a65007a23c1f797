"""Names of measures, as reports show them."""

LABELS = {
    "exact": "exact match",
    "token_f1": "token F1",
    "unit_f1": "unit F1",
    "bleu": "BLEU",
    "cosine": "cosine",
    "names": "full names",
}
"""Measures as tables and curves name them."""
