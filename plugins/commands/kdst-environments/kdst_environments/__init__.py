"""The environment: the commands `kdst doctor`, `kdst install` and `kdst repeat`, and `--with`."""
