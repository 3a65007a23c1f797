"""Training, density control, scenes and their files."""

import gc
import math
import re

import pytest
import torch

from kdst_3dgs.density import GradientControl, McmcControl, relocation
from kdst_3dgs.initialise import ground_of
from kdst_3dgs.memory import Watch
from kdst_3dgs.method import Trainer
from kdst_3dgs.options import Options
from kdst_3dgs.ply import SplatFileError, read_ply
from kdst_3dgs.rasterizer import rasterize
from kdst_3dgs.scene import Scene
from kdst_3dgs.starting import PosedPhotographs
from kdst_3dgs.views import prepare_views
from kdst_core.errors import KdstError
from kdst_reconstruct.captures.stored import Photographs
from kdst_reconstruct.default import solids

WIDTH, HEIGHT = 40, 32


def look_at_origin(angle: float) -> torch.Tensor:
    """World-to-camera matrix of a camera 4 units from the origin, looking at it."""
    c, s = math.cos(angle), math.sin(angle)
    viewmat = torch.tensor([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 4], [0, 0, 0, 1]])
    return viewmat.float()


@pytest.fixture(scope="module")
def capture():
    """Six pictures of 150 coloured blobs, off the origin and in large units, with their points."""
    generator = torch.Generator().manual_seed(5)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    means = 0.7 * normal(150, 3)
    gaussians = (means, normal(150, 4), -2.0 + 0.3 * normal(150, 3), 2 + normal(150))
    sh = 0.8 * normal(150, 1, 3)
    K = torch.tensor([[40.0, 0, WIDTH / 2], [0, 40.0, HEIGHT / 2], [0, 0, 1]])
    viewmats = torch.stack([look_at_origin(0.3 * i) for i in range(6)])
    images = [rasterize(*gaussians, sh, view, K, WIDTH, HEIGHT)[0].clamp(0, 1) for view in viewmats]
    origin, unit = torch.tensor([100.0, -20.0, 7.0]), 30.0
    moved = viewmats.clone()
    moved[:, :3, 3] = unit * viewmats[:, :3, 3] - viewmats[:, :3, :3] @ origin
    colors = (0.5 + 0.28209 * sh[:, 0]).clamp(0, 1)
    return {
        "images": images,
        "intrinsics": K.repeat(6, 1, 1),
        "viewmats": moved,
        "points": unit * means + origin,
        "colors": colors,
    }


def trainer(capture, seed=0, **options):
    defaults = {"iterations": 60, "threads": 1, "refine_start_iter": 10, "refine_every": 20}
    defaults |= {"init_fill": 0}
    generator = torch.Generator().manual_seed(seed)
    return Trainer(
        Options(**(defaults | options)), PosedPhotographs(**capture), generator=generator
    )


def psnr(scene, capture, view):
    camera = (capture["viewmats"][view], capture["intrinsics"][view], WIDTH, HEIGHT)
    rgb, _, _ = scene.render(*camera)
    return -10 * (rgb - capture["images"][view]).square().mean().log10().item()


def parameters_after(machine, iterations):
    for iteration, _ in machine.run():
        if iteration == iterations:
            break
    return {k: p.detach().clone() for k, p in machine.scene.parameters.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "absgrad", "grow_grad2d": 1e-5},
        {"strategy": "mcmc", "opacity_reg": 0.01, "scale_reg": 0.01, "cap_max": 170},
        {"antialiased": True, "depth_weight": 0.1, "exposure": True},
        {"drop_rate": 0.2, "num_downscales": 1, "resolution_schedule": 20},
        {"init": "random", "init_num_points": 300, "init_extent": 1.0, "init_scale": 0.5},
    ],
    ids=["default", "absgrad", "mcmc", "antialiased-depth-exposure", "drop-coarse", "random"],
)
def test_training_improves_every_kind_of_scene(capture, options):
    machine = trainer(capture, **options)
    before = psnr(machine.scene, capture, 2)
    parameters = parameters_after(machine, 60)
    assert psnr(machine.scene, capture, 2) > before + 1.5
    assert all(torch.isfinite(p).all() for p in parameters.values())


def test_ground_without_points_starts_with_gaussians_of_its_colour_on_it(capture):
    """Grey photographs of points over a plane: what is added is grey and on the lowest level."""
    grey = [torch.full_like(image, 0.3) for image in capture["images"]]
    flat = capture["points"].clone()
    flat[:, 1] = -20 + 0.2 * (flat[:, 1] + 20)
    machine = trainer(capture | {"images": grey, "points": flat}, init_fill=20)
    added = {name: p.detach()[150:] for name, p in machine.scene.parameters.items()}
    points = (flat - machine.scene.origin) / machine.scene.unit
    assert len(added["means"]) > 20
    assert torch.allclose(added["means"][:, 1], points[:, 1].quantile(0.98).expand(()), atol=1e-4)
    assert torch.allclose(0.5 + 0.28209 * added["sh"][:, 0], torch.tensor(0.3), atol=1e-3)


def test_the_ground_is_level_though_all_cameras_look_down_from_one_side():
    shown = solids.capture(views=32, width=48, height=36, points=3000)
    cameras = shown.cameras[:7]
    poses = [torch.stack([getattr(c, name) for c in cameras]) for name in ("K", "viewmat")]
    frame = prepare_views(shown.images[:7], *poses, shown.points, None, None)
    pitched = -torch.stack([view.viewmat[1, :3] for view in frame.views]).mean(0)
    vertical = torch.tensor([0.0, 0.0, 1.0])
    ground = ground_of(frame.views, frame.points)
    assert pitched @ vertical / pitched.norm() < 0.95
    assert ground.up @ vertical > 0.999
    height = float(ground.up @ frame.origin) + frame.unit * ground.height
    assert height == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(("brightness", "shade"), [(0.2, 0.0), (0.9, 1.0)])
def test_background_is_that_of_regions_without_points(capture, brightness, shade):
    images = [torch.full_like(image, brightness) for image in capture["images"]]
    machine = trainer(capture | {"images": images})
    assert machine.scene.background.tolist() == [shade] * 3


def test_gaussians_floating_in_front_of_a_camera_are_pruned(capture):
    machine = trainer(capture, refine_start_iter=500)
    camera = capture["viewmats"][2]
    centre = -camera[:3, :3].T @ camera[:3, 3]
    floating = centre + 0.05 * 30 * camera[2, :3] * 4
    machine.scene.parameters["means"].data[7] = (
        floating - machine.scene.origin
    ) / machine.scene.unit
    parameters_after(machine, 22)
    assert len(machine.scene) == 149


def test_automatic_exposure_is_taken_out_and_put_back(capture):
    """Photographs taken darker or brighter train the scene of the even ones."""
    exposures = 2.0 ** torch.tensor([0.0, -1.5, 0.5, -0.5, 1.0, -1.0])
    gains = (exposures / exposures.log().mean().exp()) ** (1 / 2.2)
    images = [image * gain * 0.6 for image, gain in zip(capture["images"], gains, strict=True)]
    uneven = capture | {"images": images}
    blind, aware = trainer(uneven), trainer(uneven | {"exposures": exposures})
    scores = []
    for machine, given in ((blind, None), (aware, float(exposures[1]))):
        parameters_after(machine, 60)
        camera = (capture["viewmats"][1], capture["intrinsics"][1], WIDTH, HEIGHT)
        rgb, _, _ = machine.scene.render(*camera, given)
        scores.append(-10 * (rgb - images[1]).square().mean().log10().item())
    assert scores[1] > scores[0] + 1


def test_same_seed_gives_the_same_scene(capture):
    options = {"strategy": "mcmc", "background": "random", "drop_rate": 0.1}
    runs = [parameters_after(trainer(capture, **options), 45) for _ in range(2)]
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_a_resumed_run_ends_like_one_that_was_not_stopped(capture, strategy, tmp_path):
    options = {"strategy": strategy, "background": "random", "exposure": True, "grow_grad2d": 1e-5}
    whole = parameters_after(trainer(capture, **options), 60)
    stopped = trainer(capture, **options)
    parameters_after(stopped, 33)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = trainer(capture, seed=99, **options)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again = parameters_after(resumed, 60)
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_a_finished_run_can_be_extended(capture):
    short = trainer(capture, iterations=20)
    parameters_after(short, 20)
    longer = trainer(capture, iterations=30)
    longer.load_state_dict(short.state_dict())
    assert [iteration for iteration, _ in longer.run()] == list(range(21, 31))


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_the_cap_on_gaussians_holds(capture, strategy):
    machine = trainer(capture, strategy=strategy, cap_max=160, grow_grad2d=1e-7, iterations=90)
    assert max(len(scene) for _, scene in machine.run()) == 160


def test_opacities_are_reset_on_schedule(capture):
    machine = trainer(capture, reset_every=25, refine_start_iter=500)
    opacities = [
        torch.sigmoid(scene.parameters["opacities"]).max().item() for _, scene in machine.run()
    ]
    assert opacities[24] > 0.05
    assert opacities[25] == pytest.approx(0.01, abs=1e-4)


def test_relocated_copies_look_like_the_one_they_replace():
    """n copies of opacity o' block light as one of opacity o does, at its centre."""
    opacity, copies = torch.tensor([0.9, 0.5, 0.3]), torch.tensor([1, 2, 5])
    new, factor = relocation(opacity, copies)
    assert torch.allclose(1 - (1 - new) ** copies, opacity, atol=1e-6)
    assert factor[0] == pytest.approx(1.0)
    # Eq. 9: the light blocked over a line through the centre is kept too.
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    for o, n, p, f in zip(opacity, copies, new, factor, strict=True):
        one = o.double() * torch.exp(-0.5 * x**2)
        many = 1 - (1 - p.double() * torch.exp(-0.5 * (x / f.double()) ** 2)) ** n
        assert many.sum().item() == pytest.approx(one.sum().item(), rel=1e-5)


def test_density_controls_clone_small_and_split_large_gaussians(capture):
    machine = trainer(capture, grow_grad2d=1e-9, refine_start_iter=0, refine_every=10)
    before = len(machine.scene)
    parameters_after(machine, 25)
    assert isinstance(machine.control, GradientControl)
    assert len(machine.scene) > before
    assert isinstance(trainer(capture, strategy="mcmc").control, McmcControl)


def test_rendering_is_in_the_capture_s_coordinates(capture):
    """Depth and colour agree with the Gaussians rendered where the file puts them."""
    machine = trainer(capture)
    parameters_after(machine, 10)
    camera = (capture["viewmats"][1], capture["intrinsics"][1], WIDTH, HEIGHT)
    rgb, alpha, depth = machine.scene.render(*camera)
    world = Scene(machine.scene.in_capture_coordinates())
    rgb2, alpha2, depth2 = world.render(*camera)
    assert torch.allclose(rgb, rgb2, atol=2e-3)
    assert torch.allclose(alpha, alpha2, atol=2e-3)
    near = alpha > 0.5
    assert torch.allclose(depth[near], depth2[near], rtol=1e-2)
    assert 60 < depth[near].median() < 180


def test_ply_round_trip_is_lossless(capture, tmp_path):
    machine = trainer(capture, sh_degree=3)
    parameters_after(machine, 5)
    world = machine.scene.in_capture_coordinates()
    machine.scene.save(tmp_path / "scene.ply")
    loaded = Scene.load(tmp_path / "scene.ply").parameters
    assert all(torch.equal(world[k], loaded[k]) for k in world)
    header = (tmp_path / "scene.ply").read_bytes().split(b"end_header")[0].decode()
    names = [line.split()[2] for line in header.splitlines() if line.startswith("property")]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{i}" for i in range(45)]
    assert names[54:] == [
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        *(f"rot_{i}" for i in range(4)),
    ]


@pytest.mark.parametrize(("name", "size"), [("s.splat", 32), ("s.compressed.ply", 16)])
def test_compact_formats_hold_every_gaussian(capture, tmp_path, name, size):
    machine = trainer(capture, sh_degree=0)
    machine.scene.save(tmp_path / name)
    assert (tmp_path / name).stat().st_size >= size * len(machine.scene)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_cropping_keeps_what_is_in_the_box(capture, tmp_path):
    machine = trainer(capture)
    middle = capture["points"].median(0).values
    box = torch.stack([middle - 15, middle + 15])
    machine.scene.save(tmp_path / "part.ply", box)
    means = read_ply(tmp_path / "part.ply")["means"]
    assert 0 < len(means) < len(machine.scene)
    assert ((means >= box[0]) & (means <= box[1])).all()


def test_a_ply_can_be_trained_on(capture, tmp_path):
    first = trainer(capture)
    parameters_after(first, 60)
    first.scene.save(tmp_path / "scene.ply")
    second = trainer(capture, init=str(tmp_path / "scene.ply"))
    assert psnr(second.scene, capture, 2) == pytest.approx(psnr(first.scene, capture, 2), abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"scale_2", b"sxale_2"), "lacks scale_2"),
        (lambda data: data.replace(b"float nx", b"float x"), "names a field twice"),
        (lambda data: data[:-100], "truncated: 14[0-9] of 150 Gaussians"),
        (lambda data: b"solid" + data, "is not a .ply file"),
        (lambda data: data.replace(b"little", b"big___"), "has the format binary_big____endian"),
        (lambda data: data.replace(b"f_rest_44", b"g_rest_44"), "44 f_rest fields"),
    ],
)
def test_damaged_ply_is_refused_in_one_line(capture, tmp_path, change, message):
    path = tmp_path / "scene.ply"
    trainer(capture).scene.save(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SplatFileError, match=message) as error:
        Scene.load(path)
    assert "\n" not in str(error.value)


def test_an_unknown_ending_is_refused_and_nothing_is_written(capture, tmp_path):
    with pytest.raises(SplatFileError, match=r"write .ply, .compressed.ply, .splat, .spz or .sog"):
        trainer(capture).scene.save(tmp_path / "scene.obj")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"images": c["images"][:1]}, "1 training view given; at least 2"),
        (lambda c: {"points": torch.zeros(0, 3)}, "no SfM points; start from random"),
        (lambda c: {"viewmats": c["viewmats"] * torch.nan}, "not finite"),
        (lambda c: {"masks": [torch.ones(3, 3) > 0] * 6}, "mask of view 0 is 3×3, its image 40×32"),
        (lambda c: {"images": [torch.zeros(0, 5, 3)] * 6}, r"shape \(0, 5, 3\)"),
    ],
)
def test_captures_that_cannot_be_trained_on_are_refused(capture, change, message):
    with pytest.raises(ValueError, match=message):
        trainer(capture | change(capture))


def test_a_start_that_means_nothing_is_refused(capture):
    with pytest.raises(ValueError, match=r"give sfm, random or the path of a \.ply"):
        Options(init="points")
    with pytest.raises(ValueError, match="no such file"):
        trainer(capture, init="gone.ply")


def test_a_known_background_is_taken(capture):
    shade = torch.tensor([0.2, 0.4, 0.6])
    assert torch.equal(trainer(capture | {"background": shade}).scene.background, shade)
    chosen = trainer(capture | {"background": shade}, background="black")
    assert chosen.scene.background.tolist() == [0, 0, 0]


def test_a_cap_is_suggested_before_memory_runs_out(capture, capsys, monkeypatch):
    """Growing from 150 to 220 needs .1 MiB: twice that is a warning, less is the end."""
    watch = Watch(59, left=lambda: 300_000)
    watch.grown(150, 220)
    watch.grown(150, 220)
    said = capsys.readouterr().err
    assert said.count("Memory gets short: 220 Gaussians") == 1
    assert "--cap-max" in said
    with pytest.raises(KdstError, match=r"about to run out: 220 Gaussians.*\n.*--cap-max 1000"):
        Watch(59, left=lambda: 100_000).grown(150, 220)
    Watch(59, left=lambda: None).grown(1, 10**9)
    monkeypatch.setattr(Watch.__init__, "__defaults__", (lambda: 1000,))
    with pytest.raises(KdstError, match="about to run out: 150 Gaussians"):
        trainer(capture)


def test_a_suggested_cap_fits_into_the_memory(capsys):
    left = 1 << 30
    watch = Watch(59, left=lambda: left)
    watch.grown(900_000, 1_100_000)
    cap = int(re.search(r"--cap-max (\d+)", capsys.readouterr().err)[1])
    assert 1_100_000 < cap < 1_100_000 + left / (16 * 59)


def test_the_warning_counts_the_pictures(capsys):
    Watch(59, left=lambda: 10 << 20).start(150, 40_000)
    assert "Memory gets short" not in capsys.readouterr().err
    Watch(59, left=lambda: 10 << 20).start(150, 60_000)
    assert "Memory gets short" in capsys.readouterr().err


def _pictures_held():
    """Return all floats of the size of a photograph that are alive in this process."""
    return [
        o
        for o in gc.get_objects()
        if type(o) is torch.Tensor and o.shape == (HEIGHT, WIDTH, 3) and o.is_floating_point()
    ]


def test_photographs_kept_as_bytes_train_as_floats_and_stay_bytes(capture):
    """No more than the floats of a few photographs live at once."""
    stored = Photographs([(255 * image).round().byte().numpy() for image in capture["images"]])
    earlier = _pictures_held()  # kept, so that no new one gets the identity of one that went
    machine = trainer(capture | {"images": stored})
    kept = parameters_after(machine, 12)
    gc.collect()
    known = {id(image) for image in earlier}
    assert len([image for image in _pictures_held() if id(image) not in known]) <= 2
    floats = parameters_after(trainer(capture | {"images": [stored[k] for k in range(6)]}), 12)
    assert all(torch.equal(kept[k], floats[k]) for k in kept)


def test_masked_pixels_do_not_train(capture):
    """What the mask hides may be anything: the scene comes out the same."""
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, 20:] = False
    spoiled = [image.clone() for image in capture["images"]]
    for image in spoiled:
        image[:, 20:] = 1.0
    masks = {"masks": [mask] * 6}
    runs = [
        parameters_after(trainer(capture | masks | {"images": images}, dssim_weight=0.0), 30)
        for images in (capture["images"], spoiled)
    ]
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_an_image_s_alpha_is_where_the_background_shows(capture):
    shown = [torch.cat([image, torch.ones(HEIGHT, WIDTH, 1)], -1) for image in capture["images"]]
    opaque = parameters_after(trainer(capture | {"images": shown}), 30)
    plain = parameters_after(trainer(capture), 30)
    assert all(torch.equal(opaque[k], plain[k]) for k in plain)
    clear = [torch.cat([image * 0, image[..., :1] * 0], -1) for image in capture["images"]]
    machine = trainer(capture | {"images": clear}, background="white")
    parameters_after(machine, 60)
    assert torch.sigmoid(machine.scene.parameters["opacities"]).mean() < 0.1


def test_no_photograph_becomes_floats_before_it_is_looked_at(capture, monkeypatch):
    """Floats of all photographs, one after the other, once left 12 bytes a pixel of holes behind."""
    stored = Photographs([(255 * image).round().byte().numpy() for image in capture["images"]])
    asked = []
    monkeypatch.setattr(Photographs, "__getitem__", lambda _, row: asked.append(row))
    poses = capture["intrinsics"], capture["viewmats"]
    frame = prepare_views(stored, *poses, capture["points"], None, None)
    assert [view.size for view in frame.views] == [(HEIGHT, WIDTH)] * len(capture["images"])
    assert asked == []
