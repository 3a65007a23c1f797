"""The bench of 3D reconstruction for kdst."""
