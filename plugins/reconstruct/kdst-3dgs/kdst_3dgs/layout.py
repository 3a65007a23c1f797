"""Layout of what the projection kernels read and write: columns of tables, rows of blocks, the camera."""

# Columns of the table of splats: centre, shape, log2 opacity, colour, depth, half extents of the
# ellipse where alpha falls under 1/255, and the dy at its right end.
MX, MY, A, KAPPA, C, L, RED, GREEN, BLUE, DEPTH, RX, RY, YR = range(13)
# Columns of the table of gradients by splat: moments of g = dloss/dln(alpha), and the rest.
G, G_X, G_XX, G_Y, G_XY, G_YY, G_RED, G_GREEN, G_BLUE, G_DEPTH, ABS_X, ABS_Y = range(12)
WIDTH = 16  # floats in a row of both tables: one cache line

# Rows of a block of 16 Gaussians, one each a lane: parameters, or the gradients by them and by the
# projected centre.
MEAN, QUAT, LOG_SCALE, LOGIT, CENTRE_X, CENTRE_Y = 0, 3, 7, 10, 11, 12
BLOCK_ROWS, GRADIENT_ROWS = 11, 13

# The camera's vector. Rotation W from world to camera by rows, and the shift added to it; the place of
# the eye in the world; focal lengths and principal point in pixels; least and largest x/z and y/z by
# which the Jacobian is taken; size of the image; depths between which Gaussians are drawn.
W00, W01, W02, W10, W11, W12, W20, W21, W22, SHIFT_X, SHIFT_Y, SHIFT_Z = range(12)
EYE_X, EYE_Y, EYE_Z, FOCAL_X, FOCAL_Y, MIDDLE_X, MIDDLE_Y = range(12, 19)
X_LOW, X_HIGH, Y_LOW, Y_HIGH, IMAGE_WIDTH, IMAGE_HEIGHT, NEAREST, FARTHEST = range(19, 27)
CAMERA_LENGTH = 27
