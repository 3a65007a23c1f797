"""Models that edit by an instruction, each by the pipeline of its own that diffusers has for it."""
