"""The bench of the capability `adapt`: data, protocol, measures, report, and the kit for authors."""

__version__ = "0.1.0"
