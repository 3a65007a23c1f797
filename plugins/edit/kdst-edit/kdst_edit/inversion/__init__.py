"""Turn a real image into a start of sampling: DDIM, Direct, null-text, edit-friendly DDPM, and for flows.

`invert.invert` does it, `settings.InversionSettings` says how, `result.Inversion` is what comes back,
`cache.Cache` keeps it. Importing this package or `settings` loads no torch.
"""
