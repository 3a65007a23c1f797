"""Gaussians to screen ellipses and colours, and their gradients back: 16 Gaussians at a time.

A screen ellipse is stored as a conditional Gaussian, y first and then x given y. With
u = dx + k·dy, the opacity at (dx, dy) from its centre is 2^(L - A·u² - C·dy²), a form that has
no cancellation for thin ellipses and costs two operations a pixel.
"""

import numpy as np

from kdst_3dgs import harmonics
from kdst_3dgs.constants import ALPHA_MIN, EPS2D
from kdst_3dgs.simd import (
    LANES,
    absolute,
    bits,
    exp2,
    inlined,
    kernel,
    load,
    log2,
    maximum,
    minimum,
    sqrt,
    store,
    where,
)

# Columns of the table of splats: centre, shape, log2 opacity, colour, depth, half extents of the
# ellipse where alpha falls under 1/255, and the dy at its right end.
MX, MY, A, KAPPA, C, L, RED, GREEN, BLUE, DEPTH, RX, RY, YR = range(13)
# Columns of the table of gradients by splat: moments of g = dloss/dln(alpha), and the rest.
G, G_X, G_XX, G_Y, G_XY, G_YY, G_RED, G_GREEN, G_BLUE, G_DEPTH, ABS_X, ABS_Y = range(12)
WIDTH = 16  # floats in a row of both tables: one cache line

# Layout of the camera's vector.
ROTATION, TRANSLATION, CENTRE, FOCAL, PRINCIPAL, LIMITS, SIZE, RANGE = 0, 9, 12, 15, 17, 19, 23, 25
CAMERA_LENGTH = 27

_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
_HALF_LOG2E = 0.5 * _LOG2E
_EPS2D = EPS2D
_C0 = harmonics.C0
_INVERSE_ALPHA_MIN = 1 / ALPHA_MIN
_SLACK = 1e-3  # the ellipses tested are this much larger, so that rounding never cuts a pixel

basis_1, gradient_1 = inlined(harmonics.basis_1), inlined(harmonics.gradient_1)
basis_2, gradient_2 = inlined(harmonics.basis_2), inlined(harmonics.gradient_2)
basis_3, gradient_3 = inlined(harmonics.basis_3), inlined(harmonics.gradient_3)


@inlined
def _load_block(block, means, quats, log_scales, logits, first):  # type: ignore[no-untyped-def]
    """Transpose 16 Gaussians into rows of `block`; past the end the last one is repeated."""
    last = len(means) - 1
    for lane in range(LANES):
        n = min(first + lane, last)
        for i in range(3):
            block[i, lane] = means[n, i]
            block[7 + i, lane] = log_scales[n, i]
        for i in range(4):
            block[3 + i, lane] = quats[n, i]
        block[10, lane] = logits[n]


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
def _to_camera(cam, x, y, z):  # type: ignore[no-untyped-def]
    """World to camera coordinates."""
    return (
        x * cam[0] + y * cam[1] + z * cam[2] + cam[9],
        x * cam[3] + y * cam[4] + z * cam[5] + cam[10],
        x * cam[6] + y * cam[7] + z * cam[8] + cam[11],
    )


@inlined
def _jacobian_rows(cam, tx, ty, inverse_z):  # type: ignore[no-untyped-def]
    """Rows of B = J W, the projection's Jacobian by world coordinates (Zwicker 2001, eq. 29)."""
    j0, j2 = inverse_z * cam[15], tx * inverse_z * inverse_z * (-cam[15])
    j1, j3 = inverse_z * cam[16], ty * inverse_z * inverse_z * (-cam[16])
    return (
        (j0 * cam[0] + j2 * cam[6], j0 * cam[1] + j2 * cam[7], j0 * cam[2] + j2 * cam[8]),
        (j1 * cam[3] + j3 * cam[6], j1 * cam[4] + j3 * cam[7], j1 * cam[5] + j3 * cam[8]),
    )


@inlined
def _dot(a, b):  # type: ignore[no-untyped-def]
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
def _log_sigmoid2(logit):  # type: ignore[no-untyped-def]
    """log2 of the sigmoid."""
    e = exp2(absolute(logit) * -_LOG2E)
    return minimum(logit, 0.0) * _LOG2E - log2(e + 1.0)


@inlined
def _shape(block, cam):  # type: ignore[no-untyped-def]
    """The geometry that the forward and the backward pass share."""
    x, y, z = _to_camera(cam, load(block, 0), load(block, 16), load(block, 32))
    inverse_z = 1.0 / where(z > cam[25], z, cam[25])
    w, qx, qy, qz = load(block, 48), load(block, 64), load(block, 80), load(block, 96)
    inverse_norm = 1.0 / maximum(sqrt(w * w + qx * qx + qy * qy + qz * qz), 1e-12)
    quat = (w * inverse_norm, qx * inverse_norm, qy * inverse_norm, qz * inverse_norm)
    R = _rotation(quat[0], quat[1], quat[2], quat[3])
    s = (
        exp2(minimum(maximum(load(block, 112) * _LOG2E, -60.0), 60.0)),
        exp2(minimum(maximum(load(block, 128) * _LOG2E, -60.0), 60.0)),
        exp2(minimum(maximum(load(block, 144) * _LOG2E, -60.0), 60.0)),
    )
    rx, ry = x * inverse_z, y * inverse_z
    tx = z * minimum(maximum(rx, cam[19]), cam[20])
    ty = z * minimum(maximum(ry, cam[21]), cam[22])
    B = _jacobian_rows(cam, tx, ty, inverse_z)
    n0, n1 = _times_matrix(B[0], R), _times_matrix(B[1], R)
    p0 = (n0[0] * s[0], n0[1] * s[1], n0[2] * s[2])
    p1 = (n1[0] * s[0], n1[1] * s[1], n1[2] * s[2])
    xx, xy, yy = _dot(p0, p0), _dot(p0, p1), _dot(p1, p1)
    det0 = _determinant(p0, p1)
    det = det0 + (xx + yy) * _EPS2D + _EPS2D * _EPS2D
    return (
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
        (
            xx + _EPS2D,
            xy,
            yy + _EPS2D,
        ),
        det,
        det0,
    )


@inlined
def _direction(block, cam):  # type: ignore[no-untyped-def]
    """Unit vectors from the camera's centre to the means, and the inverse distances."""
    x, y, z = load(block, 0) - cam[12], load(block, 16) - cam[13], load(block, 32) - cam[14]
    inverse = 1.0 / maximum(sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@inlined
def _store_basis(rows, coefficients, x, y, z):  # type: ignore[no-untyped-def]
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
def _colour(sh, n, rows, lane, coefficients):  # type: ignore[no-untyped-def]
    """SH colour of Gaussian n before the clamp at 0."""
    r = g = b = np.float32(0.5)
    for i in range(coefficients):
        weight = rows[i, lane]
        r += weight * sh[n, i, 0]
        g += weight * sh[n, i, 1]
        b += weight * sh[n, i, 2]
    return r, g, b


@kernel
def project_forward(  # type: ignore[no-untyped-def]
    first,
    last,
    means,
    quats,
    log_scales,
    logits,
    sh,
    coefficients,
    cam,
    antialiased,
    splats,
    visible,
):
    """Fill `splats` (N, 16) and `visible` (N,) for the blocks of 16 from `first` to `last`.

    A Gaussian is visible when the ellipse where its alpha exceeds 1/255 meets the image.
    """
    zero = np.float32(0)
    block = np.empty((11, LANES), np.float32)
    rows = np.empty((16, LANES), np.float32)
    out = np.empty((WIDTH, LANES), np.float32)
    for start in range(first * LANES, min(last * LANES, len(means)), LANES):
        _load_block(block, means, quats, log_scales, logits, start)
        camera, inverse_z, _, _, _, _, _, _, _, _, cov, det, det0 = _shape(block, cam)
        x, y, z = camera
        xx, xy, yy = cov
        inverse_yy = 1.0 / yy
        opacity = _log_sigmoid2(load(block, 160))
        if antialiased:
            opacity = opacity + log2(maximum(det0 / det, 1e-30)) * 0.5
        reach = opacity + np.float32(np.log2(_INVERSE_ALPHA_MIN) + _SLACK)
        squared = reach * (2.0 * _LN2)
        rx, ry = sqrt(maximum(squared * xx, 0.0)), sqrt(maximum(squared * yy, 0.0))
        mx, my = x * inverse_z * cam[15] + cam[17], y * inverse_z * cam[16] + cam[18]
        seen = (z > cam[25]) & (cam[26] >= z) & (reach > zero)
        seen = seen & (mx + rx > zero) & (cam[23] >= mx - rx)
        seen = seen & (my + ry > zero) & (cam[24] >= my - ry)
        shown = bits(seen & (rx * ry <= 1e18))
        if shown == 0:
            for n in range(start, min(start + LANES, len(means))):
                visible[n] = False
            continue
        store(out, MX * LANES, mx)
        store(out, MY * LANES, my)
        store(out, A * LANES, yy / det * _HALF_LOG2E)
        store(out, KAPPA * LANES, zero - xy * inverse_yy)
        store(out, C * LANES, inverse_yy * _HALF_LOG2E)
        store(out, L * LANES, opacity)
        store(out, DEPTH * LANES, z)
        store(out, RX * LANES, rx)
        store(out, RY * LANES, ry)
        store(out, YR * LANES, xy / xx * rx)
        dx, dy, dz, _ = _direction(block, cam)
        _store_basis(rows, coefficients, dx, dy, dz)
        for lane in range(min(LANES, len(means) - start)):
            n = start + lane
            visible[n] = (shown >> lane) & 1 == 1
            if visible[n]:
                r, g, b = _colour(sh, n, rows, lane, coefficients)
                for i in range(YR + 1):
                    splats[n, i] = out[i, lane]
                splats[n, RED] = max(r, zero)
                splats[n, GREEN] = max(g, zero)
                splats[n, BLUE] = max(b, zero)


@kernel
def project_backward(  # type: ignore[no-untyped-def]
    first,
    last,
    means,
    quats,
    log_scales,
    logits,
    sh,
    coefficients,
    cam,
    antialiased,
    visible,
    slot_range,
    slots,
    d_means,
    d_quats,
    d_log_scales,
    d_logits,
    d_sh,
    d_means2d,
    absolute_means2d,
):
    """Sum the gradients of each Gaussian's tiles in `slots` (S, 16) and carry them to its
    parameters; every row of the `d_` arrays is written."""
    block = np.empty((11, LANES), np.float32)
    rows = np.empty((16, LANES), np.float32)
    weights = np.empty((16, LANES), np.float32)
    total = np.empty(LANES, np.float32)
    moments = np.empty((WIDTH, LANES), np.float32)
    out = np.empty((13, LANES), np.float32)
    for start in range(first * LANES, min(last * LANES, len(means)), LANES):
        stop = min(start + LANES, len(means))
        some = False
        for n in range(start, stop):
            some = some or visible[n]
        if not some:
            d_means[start:stop] = 0
            d_quats[start:stop] = 0
            d_log_scales[start:stop] = 0
            d_logits[start:stop] = 0
            d_sh[start:stop] = 0
            d_means2d[start:stop] = 0
            absolute_means2d[start:stop] = 0
            continue
        for lane in range(LANES):
            _sum_slots(slots, slot_range, visible, start + lane, stop, total)
            for i in range(ABS_Y + 1):
                moments[i, lane] = total[i]
        _load_block(block, means, quats, log_scales, logits, start)
        dx, dy, dz, inverse_distance = _direction(block, cam)
        _store_basis(rows, coefficients, dx, dy, dz)
        for lane in range(stop - start):
            _sh_backward(sh, start + lane, rows, lane, coefficients, moments, weights, d_sh)
        towards = _direction_backward(weights, coefficients, dx, dy, dz, inverse_distance)
        _shape_backward(block, cam, moments, antialiased, towards, out)
        for lane in range(stop - start):
            n = start + lane
            for i in range(3):
                d_means[n, i] = out[i, lane] if visible[n] else 0
                d_log_scales[n, i] = out[7 + i, lane] if visible[n] else 0
            for i in range(4):
                d_quats[n, i] = out[3 + i, lane] if visible[n] else 0
            d_logits[n] = out[10, lane] if visible[n] else 0
            d_means2d[n, 0] = out[11, lane] if visible[n] else 0
            d_means2d[n, 1] = out[12, lane] if visible[n] else 0
            absolute_means2d[n, 0] = moments[ABS_X, lane]
            absolute_means2d[n, 1] = moments[ABS_Y, lane]


@inlined
def _sum_slots(slots, slot_range, visible, n, stop, total):  # type: ignore[no-untyped-def]
    """Sum the rows of Gaussian n, in tile order, into `total` (16,)."""
    if n >= stop or not visible[n] or slot_range[n, 0] == slot_range[n, 1]:
        total[:] = 0
        return
    accumulated = load(slots, slot_range[n, 0] * WIDTH)
    for slot in range(slot_range[n, 0] + 1, slot_range[n, 1]):
        accumulated = accumulated + load(slots, slot * WIDTH)
    store(total, 0, accumulated)


@inlined
def _sh_backward(sh, n, rows, lane, coefficients, moments, weights, d_sh):  # type: ignore[no-untyped-def]
    """d_sh of Gaussian n, and in `weights` its gradients by the basis functions."""
    r, g, b = _colour(sh, n, rows, lane, coefficients)
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
def _direction_backward(weights, coefficients, x, y, z, inverse_distance):  # type: ignore[no-untyped-def]
    """Gradient by the mean through the viewing direction."""
    gx = gy = gz = x * 0.0
    if coefficients > 1:
        s1 = (load(weights, 16), load(weights, 32), load(weights, 48))
        a = gradient_1(s1)
        gx, gy, gz = a[0], a[1], a[2]
    if coefficients > 4:
        s2 = (
            load(weights, 64),
            load(weights, 80),
            load(weights, 96),
            load(weights, 112),
            load(weights, 128),
        )
        b = gradient_2(s2, x, y, z)
        gx, gy, gz = gx + b[0], gy + b[1], gz + b[2]
    if coefficients > 9:
        s3 = (
            load(weights, 144),
            load(weights, 160),
            load(weights, 176),
            load(weights, 192),
            load(weights, 208),
            load(weights, 224),
            load(weights, 240),
        )
        c = gradient_3(s3, x, y, z)
        gx, gy, gz = gx + c[0], gy + c[1], gz + c[2]
    along = gx * x + gy * y + gz * z
    return (
        (gx - x * along) * inverse_distance,
        (gy - y * along) * inverse_distance,
        (gz - z * along) * inverse_distance,
    )


@inlined
def _shape_backward(block, cam, moments, antialiased, towards, out):  # type: ignore[no-untyped-def]
    """From the moments of g over the pixels to the gradients of the 11 geometric parameters."""
    shape = _shape(block, cam)
    inverse_z, ratio, t, quat, inverse_norm, R, s, B, P, cov, det, det0 = shape[1:]
    xx, xy, yy = cov
    p0, p1 = P
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
        d_xx = d_xx + (yy - _EPS2D) * inverse0 - a * g * 0.5
        d_xy = d_xy - xy * inverse0 - b * g * 0.5
        d_yy = d_yy + (xx - _EPS2D) * inverse0 - c * g * 0.5
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
        store(out, (7 + i) * LANES, d_p0[i] * p0[i] + d_p1[i] * p1[i])
    d_n0 = (d_p0[0] * s[0], d_p0[1] * s[1], d_p0[2] * s[2])
    d_n1 = (d_p1[0] * s[0], d_p1[1] * s[1], d_p1[2] * s[2])
    _rotation_backward(B, d_n0, d_n1, quat, inverse_norm, out)
    d_b0 = (_dot(d_n0, R[0]), _dot(d_n0, R[1]), _dot(d_n0, R[2]))
    d_b1 = (_dot(d_n1, R[0]), _dot(d_n1, R[1]), _dot(d_n1, R[2]))
    d_camera = _jacobian_backward(cam, d_b0, d_b1, inverse_z, ratio, t)
    d_x = d_camera[0] + d_mx * inverse_z * cam[15]
    d_y = d_camera[1] + d_my * inverse_z * cam[16]
    d_z = d_camera[2] + load(moments, G_DEPTH * LANES)
    d_z = d_z - (d_mx * ratio[0] * cam[15] + d_my * ratio[1] * cam[16]) * inverse_z
    for i in range(3):
        d_world = d_x * cam[i] + d_y * cam[3 + i] + d_z * cam[6 + i]
        store(out, i * LANES, d_world + towards[i])
    transparency = exp2(maximum(_log_sigmoid2(load(block, 160) * -1.0), -100.0))
    store(out, 10 * LANES, g * transparency)
    store(out, 11 * LANES, d_mx)
    store(out, 12 * LANES, d_my)


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
    store(out, 3 * LANES, (d_w - w * along) * inverse_norm)
    store(out, 4 * LANES, (d_x - x * along) * inverse_norm)
    store(out, 5 * LANES, (d_y - y * along) * inverse_norm)
    store(out, 6 * LANES, (d_z - z * along) * inverse_norm)


@inlined
def _jacobian_backward(cam, d_b0, d_b1, inverse_z, ratio, t):  # type: ignore[no-untyped-def]
    """Gradient by the camera coordinates through J, whose x/z and y/z stop at the limits."""
    zero = np.float32(0)
    squared = inverse_z * inverse_z
    d_j0 = d_b0[0] * cam[0] + d_b0[1] * cam[1] + d_b0[2] * cam[2]
    d_j2 = d_b0[0] * cam[6] + d_b0[1] * cam[7] + d_b0[2] * cam[8]
    d_j1 = d_b1[0] * cam[3] + d_b1[1] * cam[4] + d_b1[2] * cam[5]
    d_j3 = d_b1[0] * cam[6] + d_b1[1] * cam[7] + d_b1[2] * cam[8]
    d_tx, d_ty = d_j2 * squared * (-cam[15]), d_j3 * squared * (-cam[16])
    inside_x = (ratio[0] >= cam[19]) & (cam[20] >= ratio[0])
    inside_y = (ratio[1] >= cam[21]) & (cam[22] >= ratio[1])
    d_x, d_y = where(inside_x, d_tx, zero), where(inside_y, d_ty, zero)
    d_z = where(inside_x, zero, d_tx * t[0] * inverse_z)
    d_z = d_z + where(inside_y, zero, d_ty * t[1] * inverse_z)
    d_z = d_z - (d_j0 * cam[15] + d_j1 * cam[16]) * squared
    twice = squared * inverse_z * 2.0
    return d_x, d_y, d_z + (d_j2 * t[0] * cam[15] + d_j3 * t[1] * cam[16]) * twice
