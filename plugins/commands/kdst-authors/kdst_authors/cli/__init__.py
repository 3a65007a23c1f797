"""The commands `kdst new` and `kdst check`, each imported when it is called."""
