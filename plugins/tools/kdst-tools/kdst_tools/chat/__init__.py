"""Conversations with tool calls, as chat models are trained on them: export, and the worth of a call."""
