"""From moments over the pixels of an ellipse to gradients by the parameters of its Gaussian."""

import numpy as np

from kdst_3dgs.constants import EPS2D
from kdst_3dgs.ellipse import dot, log_sigmoid2, shape_of
from kdst_3dgs.layout import (
    CENTRE_X,
    CENTRE_Y,
    FOCAL_X,
    FOCAL_Y,
    G_DEPTH,
    G_X,
    G_XX,
    G_XY,
    G_Y,
    G_YY,
    LOG_SCALE,
    LOGIT,
    MEAN,
    QUAT,
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
    G,
)
from kdst_3dgs.simd import LANES, exp2, inlined, load, maximum, store, where


@inlined
def shape_backward(block, cam, moments, antialiased, towards, out):  # type: ignore[no-untyped-def]
    """From the moments of g over the pixels to the gradients of the 11 geometric parameters."""
    shape = shape_of(block, cam)
    s, R, inverse_z, det, det0 = shape.scales, shape.R, shape.inverse_z, shape.det, shape.det0
    xx, xy, yy = shape.cov
    p0, p1 = shape.P
    a, b, c = yy / det, 0.0 - xy / det, xx / det  # the conic, Σ⁻¹
    g = load(moments, G * LANES)
    gx, gy = load(moments, G_X * LANES), load(moments, G_Y * LANES)
    gxx = load(moments, G_XX * LANES)
    gxy, gyy = load(moments, G_XY * LANES), load(moments, G_YY * LANES)
    d_mx, d_my = a * gx + b * gy, b * gx + c * gy
    # dΣ = ½ Σ⁻¹ (Σ_pixels g d dᵀ) Σ⁻¹
    hx0, hx1 = a * gxx + b * gxy, a * gxy + b * gyy
    hy0, hy1 = b * gxx + c * gxy, b * gxy + c * gyy
    d_xx = (hx0 * a + hx1 * b) * 0.5
    d_xy = (hx0 * b + hx1 * c) * 0.5
    d_yy = (hy0 * b + hy1 * c) * 0.5
    if antialiased:  # ln of the factor is ½ (ln det Σ0 - ln det Σ)
        inverse0 = where(det0 / det > 1e-30, g / (det0 * 2.0), 0.0)
        d_xx = d_xx + (yy - EPS2D) * inverse0 - a * g * 0.5
        d_xy = d_xy - xy * inverse0 - b * g * 0.5
        d_yy = d_yy + (xx - EPS2D) * inverse0 - c * g * 0.5
    # Σ = P Pᵀ with P = B R S, B = J W
    d_p0 = (
        (d_xx * p0[0] + d_xy * p1[0]) * 2.0,
        (d_xx * p0[1] + d_xy * p1[1]) * 2.0,
        (d_xx * p0[2] + d_xy * p1[2]) * 2.0,
    )
    d_p1 = (
        (d_xy * p0[0] + d_yy * p1[0]) * 2.0,
        (d_xy * p0[1] + d_yy * p1[1]) * 2.0,
        (d_xy * p0[2] + d_yy * p1[2]) * 2.0,
    )
    for i in range(3):
        store(out, (LOG_SCALE + i) * LANES, d_p0[i] * p0[i] + d_p1[i] * p1[i])
    d_n0 = (d_p0[0] * s[0], d_p0[1] * s[1], d_p0[2] * s[2])
    d_n1 = (d_p1[0] * s[0], d_p1[1] * s[1], d_p1[2] * s[2])
    _rotation_backward(shape.B, d_n0, d_n1, shape.quat, shape.inverse_norm, out)
    d_b0 = (dot(d_n0, R[0]), dot(d_n0, R[1]), dot(d_n0, R[2]))
    d_b1 = (dot(d_n1, R[0]), dot(d_n1, R[1]), dot(d_n1, R[2]))
    d_camera = _jacobian_backward(cam, d_b0, d_b1, inverse_z, shape.ratio, shape.limited)
    d_x = d_camera[0] + d_mx * inverse_z * cam[FOCAL_X]
    d_y = d_camera[1] + d_my * inverse_z * cam[FOCAL_Y]
    d_z = d_camera[2] + load(moments, G_DEPTH * LANES)
    d_z = (
        d_z
        - (d_mx * shape.ratio[0] * cam[FOCAL_X] + d_my * shape.ratio[1] * cam[FOCAL_Y]) * inverse_z
    )
    for i in range(3):
        d_world = d_x * cam[W00 + i] + d_y * cam[W10 + i] + d_z * cam[W20 + i]
        store(out, (MEAN + i) * LANES, d_world + towards[i])
    transparency = exp2(maximum(log_sigmoid2(load(block, LOGIT * LANES) * -1.0), -100.0))
    store(out, LOGIT * LANES, g * transparency)
    store(out, CENTRE_X * LANES, d_mx)
    store(out, CENTRE_Y * LANES, d_my)


@inlined
def _rotation_backward(B, d_n0, d_n1, quat, inverse_norm, out):  # type: ignore[no-untyped-def]
    """Gradient by the quaternion as given, through N = B R and the normalisation."""
    w, x, y, z = quat
    d0 = (
        B[0][0] * d_n0[0] + B[1][0] * d_n1[0],
        B[0][0] * d_n0[1] + B[1][0] * d_n1[1],
        B[0][0] * d_n0[2] + B[1][0] * d_n1[2],
    )
    d1 = (
        B[0][1] * d_n0[0] + B[1][1] * d_n1[0],
        B[0][1] * d_n0[1] + B[1][1] * d_n1[1],
        B[0][1] * d_n0[2] + B[1][1] * d_n1[2],
    )
    d2 = (
        B[0][2] * d_n0[0] + B[1][2] * d_n1[0],
        B[0][2] * d_n0[1] + B[1][2] * d_n1[1],
        B[0][2] * d_n0[2] + B[1][2] * d_n1[2],
    )
    skew_x, skew_y, skew_z = d2[1] - d1[2], d0[2] - d2[0], d1[0] - d0[1]
    sum_xy, sum_xz, sum_yz = d0[1] + d1[0], d0[2] + d2[0], d1[2] + d2[1]
    d_w = (x * skew_x + y * skew_y + z * skew_z) * 2.0
    d_x = (w * skew_x + y * sum_xy + z * sum_xz - x * (d1[1] + d2[2]) * 2.0) * 2.0
    d_y = (w * skew_y + x * sum_xy + z * sum_yz - y * (d0[0] + d2[2]) * 2.0) * 2.0
    d_z = (w * skew_z + x * sum_xz + y * sum_yz - z * (d0[0] + d1[1]) * 2.0) * 2.0
    along = w * d_w + x * d_x + y * d_y + z * d_z
    store(out, QUAT * LANES, (d_w - w * along) * inverse_norm)
    store(out, (QUAT + 1) * LANES, (d_x - x * along) * inverse_norm)
    store(out, (QUAT + 2) * LANES, (d_y - y * along) * inverse_norm)
    store(out, (QUAT + 3) * LANES, (d_z - z * along) * inverse_norm)


@inlined
def _jacobian_backward(cam, d_b0, d_b1, inverse_z, ratio, t):  # type: ignore[no-untyped-def]
    """Gradient by the camera coordinates through J, whose x/z and y/z stop at the limits."""
    zero = np.float32(0)
    squared = inverse_z * inverse_z
    d_j0 = d_b0[0] * cam[W00] + d_b0[1] * cam[W01] + d_b0[2] * cam[W02]
    d_j2 = d_b0[0] * cam[W20] + d_b0[1] * cam[W21] + d_b0[2] * cam[W22]
    d_j1 = d_b1[0] * cam[W10] + d_b1[1] * cam[W11] + d_b1[2] * cam[W12]
    d_j3 = d_b1[0] * cam[W20] + d_b1[1] * cam[W21] + d_b1[2] * cam[W22]
    d_tx, d_ty = d_j2 * squared * (-cam[FOCAL_X]), d_j3 * squared * (-cam[FOCAL_Y])
    inside_x = (ratio[0] >= cam[X_LOW]) & (cam[X_HIGH] >= ratio[0])
    inside_y = (ratio[1] >= cam[Y_LOW]) & (cam[Y_HIGH] >= ratio[1])
    d_x, d_y = where(inside_x, d_tx, zero), where(inside_y, d_ty, zero)
    d_z = where(inside_x, zero, d_tx * t[0] * inverse_z)
    d_z = d_z + where(inside_y, zero, d_ty * t[1] * inverse_z)
    d_z = d_z - (d_j0 * cam[FOCAL_X] + d_j1 * cam[FOCAL_Y]) * squared
    twice = squared * inverse_z * 2.0
    return d_x, d_y, d_z + (d_j2 * t[0] * cam[FOCAL_X] + d_j3 * t[1] * cam[FOCAL_Y]) * twice
