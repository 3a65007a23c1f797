"""The bench's own options: which capture, which views are held out, how often they are scored."""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_core.options import option


@frozen
class ReconstructInputs:
    """Capture and protocol of a reconstruction run."""

    data: str = option(
        "solids",
        "solids (embedded: textured solids on a patterned floor); a folder: images/ with a COLMAP"
        " model in sparse/0, transforms.json (nerfstudio), transforms_train.json (Blender), or only"
        " photographs; or a video.",
    )
    width: int | None = option(
        None,
        "Width of the photographs in pixels, scaled down to it. Default: their own, the longer side"
        " at most 1,600.",
        min=16,
    )
    downscale: int = option(
        1, "Divide the photographs' size by this; images_N/ is used where it exists.", min=1
    )
    alpha: Literal["white", "black", "mask"] = option(
        "white",
        "Transparent pixels of photographs: over a white or a black background, or a mask, so that"
        " they do not count.",
    )
    video_frames: int = option(
        100, "Frames taken from a video: the sharpest of as many stretches of it.", min=2
    )
    matching: Literal["auto", "all", "sequential", "retrieval"] = option(
        "auto",
        "Photographs that structure from motion compares: all pairs; sequential, neighbours in the"
        " order of their time stamps, or else of names, and those that look alike; retrieval, only"
        " these; auto, all pairs below 60 photographs, else sequential.",
    )
    sfm: str = option(
        "",
        "Folder where the result of structure from motion is kept. Default: kdst/sfm in the user's"
        " cache (XDG_CACHE_HOME), or sfm in KDST_CACHE.",
    )
    holdout: str = option(
        "auto",
        "Views that are scored and not trained on: auto (every 8th from the first; with fewer than"
        " 20 views, inner ones), none, indices from 0 in name order (3,7), or a share (.1).",
    )
    exif: bool = option(True, "Use exposure time, ISO and f-number of the photographs' metadata.")
    score_every: int = option(
        100, "Iterations between scores of the held-out views.", min=1, max=100
    )
    align: Literal["auto", "none", "colour", "pose", "both"] = option(
        "auto",
        "Score held-out views also after their colours (an affine change), their poses or both were"
        " fitted to one half of each and scored on the other; auto: what the method learns for each"
        " photograph.",
    )
    flight_frames: int = option(120, "Frames of flight.mp4; 0 for no video.", min=0)
    flight: Literal["capture", "orbit"] = option(
        "capture", "Path of flight.mp4: that of the cameras, or an orbit around what they show."
    )
    minutes: float | None = option(
        None,
        "End within these minutes, structure from motion included: size of the pictures, Gaussians"
        " and iterations follow from the speed measured on this machine.",
        above=0,
    )
    export: list[Literal["ply", "splat", "ply_compressed", "spz", "sog"]] = option(
        [],
        "Formats in which the scene is written besides scene.ply: ply, splat, ply_compressed, spz,"
        " sog.",
    )
    lpips: str = option(
        "auto",
        "Folder with the weights of LPIPS; auto looks where torch and packages keep them; none.",
    )
    crop: str = option(
        "",
        "Crop what --export writes to a box: two corners x0,y0,z0,x1,y1,z1 in the capture's"
        " coordinates.",
    )

    def __attrs_post_init__(self) -> None:
        if self.width is not None and self.downscale != 1:
            raise ValueError("width and downscale exclude each other: give one of them")
        if self.crop and not self.export:
            raise ValueError("crop is for what export writes: give both, as in --export ply")

    def unused(self, *, raw: bool, video: bool, scored: bool, seen_through: bool) -> list[str]:
        """Return a sentence for every option that was set and has no effect on this capture.

        raw: it came without cameras. scored: some view is held out. seen_through: a photograph has
        transparent pixels.
        """
        reasons = {
            "video_frames": "" if video else "the capture is no video",
            "matching": "" if raw and not video else "the capture has cameras",
            "sfm": "" if raw else "the capture has cameras",
            "alpha": "" if seen_through else "no photograph has transparent pixels",
            "flight": "" if self.flight_frames else "it is for --flight-frames above 0",
            "lpips": "" if scored or self.lpips == "none" else "no view is held out",
            "score_every": "" if scored else "no view is held out",
            "align": "" if scored or self.align == "none" else "no view is held out",
        }
        if video:
            reasons["matching"] = "frames of a video are compared in their order"
        plain = ReconstructInputs()
        idle = {
            n: why for n, why in reasons.items() if why and getattr(self, n) != getattr(plain, n)
        }
        return [f"--{n.replace('_', '-')} has no effect: {why}." for n, why in idle.items()]


def extends(result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether a finished run goes on because only more iterations are asked for.

    Raises KdstError when it has as many.
    """
    if set(changed) != {"iterations"}:
        return False
    done, wanted = int(result["metrics"]["iterations"]), int(changed["iterations"][1])
    if wanted <= done:
        raise KdstError(
            f"the run is finished with {done:,} iterations; give --iterations above that to"
            " extend it"
        )
    return True
