"""Sixteen Gaussians to ellipses on the screen (Zwicker 2001): what both passes share."""

from typing import Any, NamedTuple

from kdst_3dgs.constants import EPS2D
from kdst_3dgs.layout import (
    FOCAL_X,
    FOCAL_Y,
    LOG_SCALE,
    LOGIT,
    MEAN,
    NEAREST,
    QUAT,
    SHIFT_X,
    SHIFT_Y,
    SHIFT_Z,
    W00,
    W01,
    W02,
    W10,
    W11,
    W12,
    W20,
    W21,
    W22,
    X_HIGH,
    X_LOW,
    Y_HIGH,
    Y_LOW,
)
from kdst_3dgs.simd import LANES, absolute, exp2, inlined, load, log2, maximum, minimum, sqrt, where

_LOG2E = 1.4426950408889634


class Shape(NamedTuple):
    """What the forward and the backward pass know of 16 Gaussians on the screen.

    camera: position before the camera, of which inverse_z is 1/z and ratio (x/z, y/z); limited: x and
    y by which the Jacobian is taken, whose ratios stop at the limits. quat: as a unit, inverse_norm: 1
    over its length; R: rows of its rotation; scales: three sizes. B: rows of the projection's Jacobian
    by world coordinates; P = B R S, by rows, so that the ellipse's covariance is P Pᵀ. cov: xx, xy, yy of
    it with the screen filter; det and det0: its determinant with and without the filter.
    """

    camera: Any
    inverse_z: Any
    ratio: Any
    limited: Any
    quat: Any
    inverse_norm: Any
    R: Any
    scales: Any
    B: Any
    P: Any
    cov: Any
    det: Any
    det0: Any


@inlined
def load_block(block, means, quats, log_scales, logits, first):  # type: ignore[no-untyped-def]
    """Transpose 16 Gaussians into rows of `block`; past the end the last one is repeated."""
    last = len(means) - 1
    for lane in range(LANES):
        n = min(first + lane, last)
        for i in range(3):
            block[MEAN + i, lane] = means[n, i]
            block[LOG_SCALE + i, lane] = log_scales[n, i]
        for i in range(4):
            block[QUAT + i, lane] = quats[n, i]
        block[LOGIT, lane] = logits[n]


@inlined
def three_rows(block, first):  # type: ignore[no-untyped-def]
    """Three rows of a block from one on."""
    return (
        load(block, first * LANES),
        load(block, (first + 1) * LANES),
        load(block, (first + 2) * LANES),
    )


@inlined
def _rotation(w, x, y, z):  # type: ignore[no-untyped-def]
    """Rows of the rotation matrix of a unit quaternion."""
    xx, yy, zz = x * x * 2.0, y * y * 2.0, z * z * 2.0
    xy, xz, yz = x * y * 2.0, x * z * 2.0, y * z * 2.0
    wx, wy, wz = w * x * 2.0, w * y * 2.0, w * z * 2.0
    return (
        (1.0 - yy - zz, xy - wz, xz + wy),
        (xy + wz, 1.0 - xx - zz, yz - wx),
        (xz - wy, yz + wx, 1.0 - xx - yy),
    )


@inlined
def _to_camera(cam, place):  # type: ignore[no-untyped-def]
    """World to camera coordinates."""
    x, y, z = place
    return (
        x * cam[W00] + y * cam[W01] + z * cam[W02] + cam[SHIFT_X],
        x * cam[W10] + y * cam[W11] + z * cam[W12] + cam[SHIFT_Y],
        x * cam[W20] + y * cam[W21] + z * cam[W22] + cam[SHIFT_Z],
    )


@inlined
def _jacobian_rows(cam, tx, ty, inverse_z):  # type: ignore[no-untyped-def]
    """Rows of B = J W, the projection's Jacobian by world coordinates (Zwicker 2001, eq. 29)."""
    j0, j2 = inverse_z * cam[FOCAL_X], tx * inverse_z * inverse_z * (-cam[FOCAL_X])
    j1, j3 = inverse_z * cam[FOCAL_Y], ty * inverse_z * inverse_z * (-cam[FOCAL_Y])
    return (
        (
            j0 * cam[W00] + j2 * cam[W20],
            j0 * cam[W01] + j2 * cam[W21],
            j0 * cam[W02] + j2 * cam[W22],
        ),
        (
            j1 * cam[W10] + j3 * cam[W20],
            j1 * cam[W11] + j3 * cam[W21],
            j1 * cam[W12] + j3 * cam[W22],
        ),
    )


@inlined
def dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def _times_matrix(v, rows):  # type: ignore[no-untyped-def]
    """Row vector times a matrix given by rows."""
    return (
        v[0] * rows[0][0] + v[1] * rows[1][0] + v[2] * rows[2][0],
        v[0] * rows[0][1] + v[1] * rows[1][1] + v[2] * rows[2][1],
        v[0] * rows[0][2] + v[1] * rows[1][2] + v[2] * rows[2][2],
    )


@inlined
def _determinant(p, q):  # type: ignore[no-untyped-def]
    """det(P Pᵀ) of a 2 by 3 matrix with rows p and q, as |p × q|² (no cancellation)."""
    x = p[1] * q[2] - p[2] * q[1]
    y = p[2] * q[0] - p[0] * q[2]
    z = p[0] * q[1] - p[1] * q[0]
    return x * x + y * y + z * z


@inlined
def log_sigmoid2(logit):  # type: ignore[no-untyped-def]
    """log2 of the sigmoid."""
    e = exp2(absolute(logit) * -_LOG2E)
    return minimum(logit, 0.0) * _LOG2E - log2(e + 1.0)


@inlined
def _size(log_scale):  # type: ignore[no-untyped-def]
    """The size of a logarithm, which is finite whatever that is."""
    return exp2(minimum(maximum(log_scale * _LOG2E, -60.0), 60.0))


@inlined
def shape_of(block, cam):  # type: ignore[no-untyped-def]
    """The geometry that the forward and the backward pass share."""
    x, y, z = _to_camera(cam, three_rows(block, MEAN))
    inverse_z = 1.0 / where(z > cam[NEAREST], z, cam[NEAREST])
    w = load(block, QUAT * LANES)
    qx, qy, qz = three_rows(block, QUAT + 1)
    inverse_norm = 1.0 / maximum(sqrt(w * w + qx * qx + qy * qy + qz * qz), 1e-12)
    quat = (w * inverse_norm, qx * inverse_norm, qy * inverse_norm, qz * inverse_norm)
    R = _rotation(quat[0], quat[1], quat[2], quat[3])
    logs = three_rows(block, LOG_SCALE)
    s = (_size(logs[0]), _size(logs[1]), _size(logs[2]))
    rx, ry = x * inverse_z, y * inverse_z
    tx = z * minimum(maximum(rx, cam[X_LOW]), cam[X_HIGH])
    ty = z * minimum(maximum(ry, cam[Y_LOW]), cam[Y_HIGH])
    B = _jacobian_rows(cam, tx, ty, inverse_z)
    n0, n1 = _times_matrix(B[0], R), _times_matrix(B[1], R)
    p0 = (n0[0] * s[0], n0[1] * s[1], n0[2] * s[2])
    p1 = (n1[0] * s[0], n1[1] * s[1], n1[2] * s[2])
    xx, xy, yy = dot(p0, p0), dot(p0, p1), dot(p1, p1)
    det0 = _determinant(p0, p1)
    det = det0 + (xx + yy) * EPS2D + EPS2D * EPS2D
    cov = (xx + EPS2D, xy, yy + EPS2D)
    return Shape(
        (x, y, z),
        inverse_z,
        (rx, ry),
        (tx, ty),
        quat,
        inverse_norm,
        R,
        s,
        B,
        (p0, p1),
        cov,
        det,
        det0,
    )
