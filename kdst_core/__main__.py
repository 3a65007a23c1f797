"""`python -m kdst_core`: the same as the command `kdst`."""

from kdst_core.cli import main

main()
