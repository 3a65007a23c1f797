"""Colours of Gaussians by the direction of view, from spherical harmonics, and back."""

import numpy as np

from kdst_3dgs import harmonics
from kdst_3dgs.ellipse import three_rows
from kdst_3dgs.layout import EYE_X, EYE_Y, EYE_Z, G_BLUE, G_GREEN, G_RED, MEAN
from kdst_3dgs.simd import LANES, inlined, load, maximum, sqrt, store

_C0 = harmonics.C0
basis_1, gradient_1 = inlined(harmonics.basis_1), inlined(harmonics.gradient_1)
basis_2, gradient_2 = inlined(harmonics.basis_2), inlined(harmonics.gradient_2)
basis_3, gradient_3 = inlined(harmonics.basis_3), inlined(harmonics.gradient_3)


@inlined
def direction(block, cam):  # type: ignore[no-untyped-def]
    """Unit vectors from the camera's centre to the means, and the inverse distances."""
    mx, my, mz = three_rows(block, MEAN)
    x, y, z = mx - cam[EYE_X], my - cam[EYE_Y], mz - cam[EYE_Z]
    inverse = 1.0 / maximum(sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@inlined
def store_basis(rows, coefficients, x, y, z):  # type: ignore[no-untyped-def]
    """Spherical harmonics of 16 directions into rows 0 to `coefficients`."""
    store(rows, 0, x * 0.0 + _C0)
    if coefficients > 1:
        b = basis_1(x, y, z)
        for i in range(3):
            store(rows, (1 + i) * LANES, b[i])
    if coefficients > 4:
        c = basis_2(x, y, z)
        for i in range(5):
            store(rows, (4 + i) * LANES, c[i])
    if coefficients > 9:
        d = basis_3(x, y, z)
        for i in range(7):
            store(rows, (9 + i) * LANES, d[i])


@inlined
def colour(sh, n, rows, lane, coefficients):  # type: ignore[no-untyped-def]
    """SH colour of Gaussian n before the clamp at 0."""
    r = g = b = np.float32(0.5)
    for i in range(coefficients):
        weight = rows[i, lane]
        r += weight * sh[n, i, 0]
        g += weight * sh[n, i, 1]
        b += weight * sh[n, i, 2]
    return r, g, b


@inlined
def sh_backward(sh, n, rows, lane, coefficients, moments, weights, d_sh):  # type: ignore[no-untyped-def]
    """d_sh of Gaussian n, and in `weights` its gradients by the basis functions."""
    r, g, b = colour(sh, n, rows, lane, coefficients)
    zero = np.float32(0)
    d_r = moments[G_RED, lane] if r > 0 else zero
    d_g = moments[G_GREEN, lane] if g > 0 else zero
    d_b = moments[G_BLUE, lane] if b > 0 else zero
    for i in range(coefficients):
        weight = rows[i, lane]
        d_sh[n, i, 0] = weight * d_r
        d_sh[n, i, 1] = weight * d_g
        d_sh[n, i, 2] = weight * d_b
        weights[i, lane] = sh[n, i, 0] * d_r + sh[n, i, 1] * d_g + sh[n, i, 2] * d_b
    for i in range(coefficients, d_sh.shape[1]):
        d_sh[n, i, 0] = d_sh[n, i, 1] = d_sh[n, i, 2] = zero


@inlined
def direction_backward(weights, coefficients, x, y, z, inverse_distance):  # type: ignore[no-untyped-def]
    """Gradient by the mean through the viewing direction."""
    gx = gy = gz = x * 0.0
    if coefficients > 1:
        s1 = (load(weights, 1 * LANES), load(weights, 2 * LANES), load(weights, 3 * LANES))
        a = gradient_1(s1)
        gx, gy, gz = a[0], a[1], a[2]
    if coefficients > 4:
        s2 = (
            load(weights, 4 * LANES),
            load(weights, 5 * LANES),
            load(weights, 6 * LANES),
            load(weights, 7 * LANES),
            load(weights, 8 * LANES),
        )
        b = gradient_2(s2, x, y, z)
        gx, gy, gz = gx + b[0], gy + b[1], gz + b[2]
    if coefficients > 9:
        s3 = (
            load(weights, 9 * LANES),
            load(weights, 10 * LANES),
            load(weights, 11 * LANES),
            load(weights, 12 * LANES),
            load(weights, 13 * LANES),
            load(weights, 14 * LANES),
            load(weights, 15 * LANES),
        )
        c = gradient_3(s3, x, y, z)
        gx, gy, gz = gx + c[0], gy + c[1], gz + c[2]
    along = gx * x + gy * y + gz * z
    return (
        (gx - x * along) * inverse_distance,
        (gy - y * along) * inverse_distance,
        (gz - z * along) * inverse_distance,
    )
