"""For authors of methods: a package to begin with, the conformance kit, helpers for tests."""
