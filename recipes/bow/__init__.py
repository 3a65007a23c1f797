"""The embedded lexicon: English of many kinds, in the vectors of MiniLM."""
