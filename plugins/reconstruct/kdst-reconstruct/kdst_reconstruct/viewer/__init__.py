"""A scene in the browser: what stands on stage, who may look, and fits that go on meanwhile."""
