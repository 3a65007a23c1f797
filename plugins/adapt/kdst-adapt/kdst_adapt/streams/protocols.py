"""Protocols of papers by name: what each fixes, and where a run departs from it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from kdst_adapt.streams.severities import parse_severities
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from kdst_adapt.streams.shift import Shift

Name = Literal[
    "none", "robustbench-5k", "eata-50k", "cotta-continual", "rotta-dirichlet", "ccc", "gradual"
]
TYPES = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur"),
    *("motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast"),
    *("elastic_transform", "pixelate", "jpeg_compression"),
)
"""The fifteen types in the order of Hendrycks and Dietterich (2019), in which most streams run."""
ROTTA = (
    *("motion_blur", "snow", "fog", "shot_noise", "defocus_blur", "contrast", "zoom_blur"),
    *("brightness", "frost", "elastic_transform", "glass_blur", "gaussian_noise", "pixelate"),
    *("jpeg_compression", "impulse_noise"),
)
"""The types in the order of RoTTA's streams."""
CCC = tuple(t for t in TYPES if t not in ("brightness", "jpeg_compression"))
"""The types of CCC-Medium: those that can be as hard as it asks for."""
CIFAR, IMAGENET = ("cifar10-c", "cifar100-c"), ("imagenet-c",)
FILES = (*IMAGENET, "folder")
"""Kinds of data whose images are files, as large as ImageNet's."""
STORED = ("digits", *CIFAR, *IMAGENET)
"""Data that hold shifted images; on all others a protocol puts its corruptions itself."""
PARTS = 100
"""Parts of a stream of RoTTA over which a class is spread at most."""
MEAN = "mean accuracy over the types, in %"
ON_THE_FLY = "The corruptions are made by this bench, not read from the published data."


@frozen
class Protocol:
    """What a paper fixes.

    source: paper and section. metric: what its tables hold. data: kinds of data that it is of. types: in
    their order. sizes: images of a stream, by kind. fixed: other options. notes: where this bench
    departs on any data.
    """

    source: str
    data: tuple[str, ...]
    types: tuple[str, ...]
    sizes: Mapping[str, int]
    fixed: Mapping[str, Any]
    metric: str = MEAN
    notes: tuple[str, ...] = ()

    def values(self, kind: str) -> dict[str, Any]:
        """Return every option that is fixed for a kind of data."""
        found: dict[str, Any] = {
            **dict.fromkeys(("images", "dirichlet", "imbalance", "window")),
            "severity": "5",
            "reset": "never",
            "setting": "separate",
            "batch_size": 64 if kind in FILES else 200,
            "order": "shuffled" if kind in FILES else "stored",
            "types": list(self.types) if kind in STORED else [],
            "corrupt": [] if kind in STORED else list(self.types),
        }
        most = max(self.sizes.values(), default=None)
        size = self.sizes.get("imagenet-c" if kind in FILES else kind, most)
        return {**found, "images": size, **self.fixed}


ARRAYS_AND_FILES = {**dict.fromkeys(CIFAR, 10_000), "imagenet-c": 5_000}
PROTOCOLS = {
    "robustbench-5k": Protocol(
        "Croce et al., RobustBench (2021), the 5,000 images of ImageNet-C; batches and resets of"
        " Wang et al., Tent (2021), section Experiments",
        (*IMAGENET, *CIFAR),
        TYPES,
        dict.fromkeys((*CIFAR, *IMAGENET), 5_000),
        {"reset": "shift"},
        notes=(
            "RobustBench's list of files is not shipped: 5,000 images are taken from all classes alike"
            " (folders), or the first 5,000.",
        ),
    ),
    "eata-50k": Protocol(
        "Niu et al., EATA (2022), section Experiments, ImageNet-C at severity 5",
        IMAGENET,
        TYPES,
        {"imagenet-c": 50_000},
        {"reset": "shift", "batch_size": 64, "order": "shuffled"},
    ),
    "cotta-continual": Protocol(
        "Wang et al., CoTTA (2022), section Experiments, the standard continual streams",
        (*CIFAR, *IMAGENET),
        TYPES,
        ARRAYS_AND_FILES,
        {},
    ),
    "rotta-dirichlet": Protocol(
        "Yuan et al., RoTTA (2023), section Experiments, practical test-time adaptation",
        CIFAR,
        ROTTA,
        dict.fromkeys(CIFAR, 10_000),
        {"dirichlet": 0.1, "batch_size": 64},
    ),
    "ccc": Protocol(
        "Press et al., RDumb (2023), section Continuously Changing Corruptions, CCC-Medium",
        ("folder",),
        CCC,
        {},
        {"setting": "changing", "batch_size": 64},
        metric="accuracy over the whole stream, in %",
        notes=(
            "This is the construction of CCC, not its data: the difficulty is calibrated on the source"
            " model of this run, not on their ResNet-50, by accuracies on a few images at severities 0,"
            " 1, 3 and 5; the stream shows each image once, not 7.5 million; images are not cropped,"
            " flipped or stored as JPEG.",
        ),
    ),
    "gradual": Protocol(
        "Wang et al., CoTTA (2022), section Experiments, gradually changing severities",
        (*CIFAR, *IMAGENET),
        TYPES,
        ARRAYS_AND_FILES,
        {"severity": "1-5", "setting": "gradual"},
        notes=("The paper has the mean over ten orders of the types; this is one order.",),
    ),
}
"""By name: each fixes order, images, severities, resets, batch and metric."""


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run with those that its protocol fixes.

    KdstError for one that is given with another value than the protocol has.
    """
    name = given.get("protocol", "none")
    if name not in PROTOCOLS:
        return dict(given)
    about = PROTOCOLS[name]
    fixed = about.values(str(given.get("data", "digits")).partition(":")[0])
    for option, wanted in fixed.items():
        if option in given and not _same(option, given[option], wanted):
            flag = "--" + option.replace("_", "-")
            raise KdstError(
                f"{flag} {_text(given[option])} contradicts --protocol {name}, which has"
                f" {_text(wanted)} ({about.source}).\nLeave {flag} or --protocol out"
            )
    return {**given, **fixed}


def _same(option: str, given: Any, wanted: Any) -> bool:
    """Return whether a value that was given is the protocol's, however it is written."""
    if option == "severity":
        return parse_severities(str(given)) == parse_severities(wanted)
    if option == "corrupt" and given == ["all"]:
        return sorted(wanted) == sorted(TYPES)
    return bool(given == wanted)


def _text(value: Any) -> str:
    """Return a value of an option as users write it."""
    if isinstance(value, list):
        return ",".join(value) or "none"
    return "none" if value is None else str(value)


def departures(name: str, kind: str, shifts: "Sequence[Shift]") -> list[str]:
    """Return in sentences where the streams of a run are not those of its protocol's paper."""
    about = PROTOCOLS[name]
    found = [*about.notes]
    if kind not in about.data:
        found.append(f"The paper's data are {', '.join(about.data)}, these are {kind}.")
    if kind not in (*CIFAR, *IMAGENET):
        found.append(ON_THE_FLY)
    there = {s.name.removesuffix("-down") for s in shifts}
    missing = [t for t in about.types if t not in there]
    if missing and about.fixed.get("setting") != "changing":
        have = len(about.types) - len(missing)
        found.append(
            f"The data have {have} of its {len(about.types)} types; missing: {', '.join(missing)}."
        )
    wanted = about.values(kind)["images"]
    few = min(len(s.labels) for s in shifts)
    if wanted is not None and few < wanted:
        found.append(f"Its streams have {wanted:,} images, these {few:,}.")
    return found


def summary(name: str) -> list[str]:
    """Return the line that says in the terminal by which protocol a run was made."""
    about = PROTOCOLS.get(name)
    return [f"protocol {name}: {about.source}; {about.metric}"] if about else []


def plain(name: str, told: Sequence[str]) -> dict[str, Any]:
    """Return what `result.json` holds of a protocol, nothing without one."""
    if name not in PROTOCOLS:
        return {}
    about = PROTOCOLS[name]
    return {
        "protocol_source": about.source,
        "protocol_metric": about.metric,
        "protocol_departures": list(told),
    }
