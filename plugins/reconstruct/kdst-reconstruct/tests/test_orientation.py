"""Photographs turned upright, with their cameras."""

import numpy as np
import pytest

from kdst_reconstruct.captures import orientation


@pytest.mark.parametrize("turns", [0, 1, 2, -1])
def test_a_point_falls_on_the_same_part_of_the_turned_picture(turns: int) -> None:
    width, height = 60, 40
    pixels = np.arange(width * height).reshape(height, width)
    K = np.array([[50.0, 0, 28], [0, 52, 19], [0, 0, 1]])
    viewmat = np.eye(4)
    viewmat[:3, 3] = (0.2, -0.1, 3)
    point = np.array([0.31, 0.24, 0.5, 1.0])

    def value(pixels, K, viewmat):  # type: ignore[no-untyped-def]
        x, y, z = K @ (viewmat @ point)[:3]
        return pixels[int(y / z), int(x / z)]

    turned = orientation.turn_pixels(pixels, turns)
    camera = orientation.turn_camera(K, viewmat, (width, height), turns)
    assert turned.shape[::-1] == orientation.turned_size((width, height), turns)
    assert value(turned, *camera) == value(pixels, K, viewmat)
