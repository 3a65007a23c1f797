"""How a flow transformer is trained on the scenes of the embedded model of image editing.

`python -m recipes.edit_flow OUT` trains, `python -m recipes.edit_flow.score` measures; from the
repository's root.
"""
