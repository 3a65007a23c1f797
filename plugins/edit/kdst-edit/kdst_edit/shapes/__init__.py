"""The world of coloured shapes that the embedded model draws: scenes, renders, and reading them back."""
