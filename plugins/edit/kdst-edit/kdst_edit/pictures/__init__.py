"""Pictures: photographs and masks that are read, and the files of a run that are drawn."""
