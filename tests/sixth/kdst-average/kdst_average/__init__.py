"""The mean of neighbours."""

from statistics import fmean

from attrs import frozen

from kdst_core import Description, hookimpl, option


@frozen
class Options:
    """Options of average."""

    radius: int = option(2, "Neighbours on each side.", min=1)


@hookimpl
def describe():
    """Describe the method."""
    return Description(
        summary="The mean of neighbours.", options=Options, licence="Apache-2.0", random=False
    )


@hookimpl
def denoise(request, options, run):
    """Return the signal without its noise."""
    x, r = request.signal, options.radius
    return [fmean(x[max(i - r, 0) : i + r + 1]) for i in range(len(x))]
