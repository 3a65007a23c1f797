"""The conformance checks of a reconstruction method, on a small capture."""

import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import torch

from kdst_authors.testing import GIVEN, given_only, make_run
from kdst_core.bench.contract import Check
from kdst_core.contracts import Reconstruction, ReconstructRequest, Scene
from kdst_core.plugins.method import Method
from kdst_reconstruct.holdout.choice import subset
from kdst_reconstruct.kit import LENGTH, advance, small_capture, start
from kdst_reconstruct.measures import score

HELD = (2, 7)
"""Views that are held out where a check holds some out."""
WHOLE = ("iterations count from 1 to the end", "renders fit their camera")
"""Names of checks that others follow from."""


def reconstruct_checks(method: Method) -> Iterator[Check]:
    """Yield the checks; each starts a fit of its own, and those that follow name their cause."""
    yield Check(WHOLE[0], lambda: _counting(method))
    yield Check(WHOLE[1], lambda: _renders(method), WHOLE[:1])
    yield Check(GIVEN, lambda: _given_only(method), WHOLE)
    sound = (*WHOLE, GIVEN)
    yield Check("the capture is unchanged", lambda: _capture_unchanged(method), sound)
    yield Check("fitting improves the training views", lambda: _improves(method), sound)
    yield Check("state_dict continues the fit", lambda: _resume(method), sound)
    yield Check("the scene saves to .ply", lambda: _saves(method), sound)
    if method.has_hook("load_scene"):
        yield Check("a saved scene opens and renders the same", lambda: _opens(method), sound)


def _begin(method: Method, directory: str) -> Reconstruction:
    """Call the hook with default options."""
    return start(method, method.description.options(), make_run(Path(directory)))


def _counting(method: Method) -> None:
    """Iterations are 1, 2, … up to what the capture asked for."""
    with tempfile.TemporaryDirectory() as directory:
        reconstruction = _begin(method, directory)
        seen = [iteration for iteration, _ in reconstruction]
    assert reconstruction.iterations == LENGTH, "the capture's number of iterations is not kept"
    assert seen == list(range(1, LENGTH + 1)), f"iterations are {seen[:3]} … {seen[-1:]}"


def _renders(method: Method) -> None:
    """Renders have the size of the camera and values in [0, 1]."""
    with tempfile.TemporaryDirectory() as directory:
        scene = advance(_begin(method, directory), 3)
        camera = small_capture().cameras[1]
        render = scene.render(camera)
        assert render.rgb.shape == (camera.height, camera.width, 3), "rgb must be (H, W, 3)"
        assert render.alpha.shape == (camera.height, camera.width), "alpha must be (H, W)"
        for name, image in (("rgb", render.rgb), ("alpha", render.alpha)):
            inside = bool(((image >= 0) & (image <= 1)).all())
            assert inside, f"{name} has values outside [0, 1]"
        assert not render.rgb.requires_grad, "a render must not carry gradients"
        assert len(scene) > 0, "the scene is empty"


def _given_only(method: Method) -> None:
    """With other held-out views the fit and its renders are the same, bit for bit."""
    given_only(partial(_fitted, method), "held-out views")


def _fitted(method: Method, number: int) -> str:
    """Fit while held-out photographs lie open, and return a digest of renders of their views."""
    capture = small_capture()
    photographs = [(1 - 2 * number) * capture.images[k] + number for k in HELD]
    training = subset(capture, [k for k in range(len(capture.images)) if k not in HELD])
    heldout = attrs.evolve(subset(capture, HELD), images=photographs)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as directory:
        request = ReconstructRequest(training, torch.Generator().manual_seed(0), LENGTH)
        options = method.description.options()
        reconstruction = method.call(request, options, make_run(Path(directory)))
        for iteration, scene in itertools.islice(reconstruction, LENGTH):
            if iteration not in (5, LENGTH):
                continue
            for camera, photograph in zip(heldout.cameras, heldout.images, strict=True):
                rgb = scene.render(camera).rgb.detach().cpu()
                assert rgb.shape == photograph.shape, "a render has another size than its view"
                digest.update(rgb.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _improves(method: Method) -> None:
    """PSNR of the training views is higher after the fit than after its first iteration."""
    with tempfile.TemporaryDirectory() as directory:
        reconstruction = _begin(method, directory)
        before = _training_psnr(advance(reconstruction, 1))
        after = _training_psnr(advance(reconstruction, LENGTH - 1))
    assert after > before + 1, f"training views go from {before:.2f} to {after:.2f} dB"


def _training_psnr(scene: Scene) -> float:
    """Mean PSNR of the small capture's views."""
    capture = small_capture()
    pairs = zip(capture.images, capture.cameras, strict=True)
    scores = [score(scene.render(camera).rgb.cpu(), image).psnr for image, camera in pairs]
    return sum(scores) / len(scores)


def _resume(method: Method) -> None:
    """A fit that loads a state, saved to disk between, renders what the first one renders."""
    from kdst_core.runs.codecs import TorchCodec

    camera = small_capture().cameras[2]
    with tempfile.TemporaryDirectory() as directory:
        first = _begin(method, directory)
        advance(first, 15)
        TorchCodec().dump(first.state_dict(), Path(directory) / "state")
        second = _begin(method, directory)
        second.load_state_dict(TorchCodec().load(Path(directory) / "state"))
        iteration, _ = next(second)
        assert iteration == 16, f"the iteration after 15 is {iteration}"
        images = [advance(first, 11), advance(second, 10)]
        one, other = (scene.render(camera).rgb for scene in images)
    apart = float((one - other).abs().max())
    assert apart < 1e-3, f"a resumed fit renders something else, by {apart:.2g}"


def _capture_unchanged(method: Method) -> None:
    """The photographs, cameras and points are those from before."""
    capture = small_capture()
    tensors = [*capture.images, *(c.viewmat for c in capture.cameras), capture.points]
    before = [t.clone() for t in tensors]
    with tempfile.TemporaryDirectory() as directory:
        advance(_begin(method, directory), 3)
    same = all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))
    assert same, "the method changed the capture"


def _saves(method: Method) -> None:
    """A .ply is written where it was asked for."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "scene.ply"
        advance(_begin(method, directory), 2).save(path)
        assert path.is_file(), "save wrote no file"
        assert path.read_bytes()[:3] == b"ply", "scene.ply is not a .ply file"


def _opens(method: Method) -> None:
    """What `load_scene` opens has as many Gaussians as was saved, and renders the same."""
    camera = small_capture().cameras[3]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "scene.ply"
        scene = advance(_begin(method, directory), 20)
        scene.save(path)
        opened = method.call_hook("load_scene", path=path)
    assert len(opened) == len(scene), f"{len(scene)} were saved and {len(opened)} opened"
    apart = float((opened.render(camera).rgb - scene.render(camera).rgb).abs().max())
    assert apart < 1e-3, f"an opened scene renders something else, by {apart:.2g}"
    assert len(opened.splats().means) == len(opened), "`splats` must hold every Gaussian"
