"""Turn a real image into a start of sampling: DDIM, Direct, null-text and edit-friendly DDPM.

`invert.invert` does it, `settings.InversionSettings` says how, `result.Inversion` is what comes back,
`cache.Cache` keeps it. Importing this package or `settings` loads no torch.
"""
