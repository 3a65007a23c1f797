"""PIE-Bench (Ju et al., ICLR 2024): its layout and its seven measures.

`reader.read` reads a folder, `measures.score` compares an edit with its source, and
`learned.Learned` holds the measures that need weights.
"""
