"""How the embedded model of image editing was trained, and what it scores.

`python -m recipes.edit OUT` trains, `python -m recipes.edit.score` measures; from the repository's root.
"""
