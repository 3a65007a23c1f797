"""How each embedded model was trained; in no wheel."""
