"""The commands `kdst compare` and `kdst sweep`, each imported when it is called."""
