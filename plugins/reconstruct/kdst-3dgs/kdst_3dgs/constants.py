"""The numbers that the rasterisers share, as gsplat and the paper's code have them."""

NEAR, FAR = 0.01, 1e10  # depths outside are not drawn
EPS2D = 0.3  # px²: the screen filter on the 2D covariance's diagonal
CLAMP_MARGIN = 0.15  # of the image size: how far outside it the Jacobian follows a mean
ALPHA_MIN, ALPHA_MAX = 1 / 255, 0.999
TRANSMITTANCE_MIN = 1e-4
