"""Deliberately wrong methods: each is the method of `kdst new` with one thing changed.

A mutant names the check that is meant for it. Texts are replaced in the files of the package: the hooks,
the algorithm, or the project file.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One wrong method. edits: (file, old text, new text). processes: needs fresh processes."""

    name: str
    capability: str
    check: str
    edits: tuple[tuple[str, str, str], ...]
    processes: bool = False


LIGHT = "entry module imports nothing heavy"
FITS = "hooks fit the specification"
BOUNDED = "core version is bounded"
DESCRIBED = "description is complete"
SURVIVE = "options survive flags, environment and TOML"
REFUSED = "bad options are refused in two lines"
USED = "every option is used"
SILENT = "prints nothing"
INSIDE = "writes only in the run directory"
OFFLINE = "reaches no network"
REPEATS = "same seed, same result"
UNSEEDED = "seed matters only to random methods"
SETTINGS = "global settings are left alone"

THRESHOLD = """option(
        1.0, "Use images whose entropy is at most this share of ln C.", above=0, max=1
    )"""
UPDATE = "        logits: Tensor = self.model(x)\n"
END = "        return logits.detach()\n"
IMPORT = "from typing import TYPE_CHECKING\n"


def _update(name: str, check: str, code: str, *more: tuple[str, str, str]) -> Mutant:
    """A mutant of `adapt` that does something else besides in every update."""
    return Mutant(name, "adapt", check, (("method", UPDATE, code + UPDATE), *more))


def _also(name: str, check: str, code: str) -> Mutant:
    """A mutant of `adapt` whose class has more methods."""
    return Mutant(name, "adapt", check, (("method", END, f"{END}\n{code}"),))


def _hooks(name: str, check: str, old: str, new: str) -> Mutant:
    """A mutant of `adapt` with other hooks or options."""
    return Mutant(name, "adapt", check, (("hooks", old, new),))


def _reconstruct(name: str, check: str, old: str, new: str) -> Mutant:
    return Mutant(name, "reconstruct", check, (("method", old, new),))


def _edit(name: str, check: str, old: str, new: str) -> Mutant:
    return Mutant(name, "edit", check, (("hooks", old, new),))


CORE = [
    _hooks("imports-torch", LIGHT, IMPORT, IMPORT + "\nimport torch\n"),
    _hooks("prints-on-import", LIGHT, IMPORT, IMPORT + '\nprint("hello")\n'),
    _hooks("misspells-hook", FITS, "def adapt(", "def adpat("),
    _hooks("invents-argument", FITS, 'request: "AdaptRequest", o', 'images: "AdaptRequest", o'),
    _hooks("returns-dict", FITS, "return Description(", "return dict("),
    Mutant(
        "mutable-options",
        "reconstruct",
        FITS,
        (("hooks", "@frozen\n", "@define\n"), ("hooks", "import frozen", "import define")),
    ),
    Mutant(
        "unbounded-core",
        "adapt",
        BOUNDED,
        (("project", '"kdst-core>=0.1,<0.2"', '"kdst-core>=0.1"'),),
    ),
    Mutant("no-core", "adapt", BOUNDED, (("project", '    "kdst-core>=0.1,<0.2",\n', ""),)),
    _hooks(
        "no-summary",
        DESCRIBED,
        'summary="Entropy minimisation on the normalisation layers."',
        'summary=" "',
    ),
    _hooks(
        "silent-option",
        DESCRIBED,
        '"Use images whose entropy is at most this share of ln C."',
        '""',
    ),
    _hooks("untyped-option", DESCRIBED, "    threshold: float", '    threshold: "object"'),
    Mutant(
        "swallows-option",
        "adapt",
        SURVIVE,
        (
            ("hooks", "from attrs import frozen", "from attrs import field, frozen"),
            (
                "hooks",
                THRESHOLD,
                "field(\n        default=1.0,\n        converter=lambda _: 1.0,\n"
                '        metadata={"typed-settings": {"help": "A share."}},\n    )',
            ),
        ),
    ),
    _hooks("refuses-default", SURVIVE, "above=0, max=1", "above=0, max=0.5"),
    _hooks(
        "long-refusal",
        REFUSED,
        THRESHOLD,
        f"{THRESHOLD}\n\n    def __attrs_post_init__(self) -> None:\n"
        '        if self.lr > 1:\n            raise ValueError("lr\\nis\\nmuch\\ntoo large")',
    ),
    _hooks(
        "nameless-refusal",
        REFUSED,
        THRESHOLD,
        f"{THRESHOLD}\n\n    def __attrs_post_init__(self) -> None:\n"
        '        if self.lr > 1:\n            raise ValueError("this is too large")',
    ),
    Mutant("ignores-option", "adapt", USED, (("method", "self.options.threshold", "1.0"),)),
    _update("prints", SILENT, '        print("updating")\n'),
    _update("writes-outside", INSIDE, '        open("/tmp/kdst-mutant", "w").close()\n'),
    _update(
        "writes-in-working-directory",
        INSIDE,
        '        from pathlib import Path\n\n        Path("cache.bin").write_bytes(b"")\n'
        '        Path("cache.bin").unlink()\n',
    ),
    _update(
        "calls-home",
        OFFLINE,
        "        import contextlib\n        import socket\n\n"
        "        with contextlib.suppress(OSError):\n"
        '            socket.create_connection(("127.0.0.1", 9), timeout=0.1)\n',
    ),
    _update(
        "global-random-numbers",
        REPEATS,
        "        import torch\n\n        x = x + 0.1 * torch.rand(x.shape)\n",
    ),
    _update(
        "counts-runs",
        REPEATS,
        "        COUNT.append(1)\n        x = x * (1 + 0.1 * len(COUNT))\n",
        ("method", "import math\n", "import math\n\nCOUNT: list[int] = []\n"),
    ),
    Mutant(
        "depends-on-hashes",
        "adapt",
        REPEATS,
        (("method", UPDATE, '        x = x * (1 + 0.1 * (hash("kdst") % 7))\n' + UPDATE),),
        processes=True,
    ),
    _update(
        "random-though-not",
        UNSEEDED,
        "        import torch\n\n        x = x + 0.1 * torch.rand(x.shape, generator=self.generator)\n",
    ),
    _hooks("ignores-the-seed", UNSEEDED, "random=False", "random=True"),
    _update(
        "makes-a-folder",
        INSIDE,
        '        from pathlib import Path\n\n        Path("left").mkdir(exist_ok=True)\n',
    ),
    _update("seeds-torch", SETTINGS, "        import torch\n\n        torch.manual_seed(0)\n"),
    _update(
        "sets-default-dtype",
        SETTINGS,
        "        import torch\n\n        torch.set_default_dtype(torch.float64)\n",
    ),
    _update(
        "sets-environment",
        SETTINGS,
        '        import os\n\n        os.environ["MUTANT"] = "1"\n',
    ),
    _update(
        "changes-directory",
        SETTINGS,
        '        import os\n\n        os.chdir("/")\n',
    ),
]
"""Wrong for any capability; they happen to be mutants of `adapt`."""

ADAPT = [
    _also(
        "returns-float64",
        "logits keep shape and dtype",
        "    def predict(self, x: Tensor) -> Tensor:\n        return super().predict(x).double()\n",
    ),
    _also(
        "returns-a-graph",
        "logits keep shape and dtype",
        "    def predict(self, x: Tensor) -> Tensor:\n"
        "        return super().predict(x) + 0 * self.parameters[0].sum()\n",
    ),
    _update(
        "returns-nan",
        "logits are finite",
        "        x = x / (x - x)\n",
    ),
    _update(
        "clamps-in-place",
        "the input batch is unchanged",
        "        x.clamp_(0.1, 0.9)\n",
    ),
    _also(
        "favours-the-first",
        "the place in the batch changes nothing",
        "    def predict(self, x: Tensor) -> Tensor:\n"
        "        logits = super().predict(x)\n        logits[0] += 1\n        return logits\n",
    ),
    _update(
        "keeps-batches-in-its-module",
        "memory stays constant",
        "        KEPT.append(x.clone())\n",
        ("method", "import math\n", "import math\n\nKEPT: list = []\n"),
    ),
    _update(
        "remembers-batch-shape",
        "a last batch of another size works",
        '        self.mean = getattr(self, "mean", x.detach()) * 0.9 + 0.1 * x.detach()\n',
    ),
    _update(
        "divides-by-one-less",
        "a batch of one image works",
        "        x = x / (x.std(0).clamp(min=1e-3) + 1)\n",
    ),
    _also(
        "never-resets",
        "reset then replay equals a fresh run",
        "    def reset(self) -> None:\n        return\n",
    ),
    _also(
        "keeps-momentum",
        "reset then replay equals a fresh run",
        "    def reset(self) -> None:\n        state = self.optimizer.state_dict()\n"
        "        super().reset()\n        self.optimizer.load_state_dict(state)\n",
    ),
    _also(
        "forgets-optimiser",
        "state_dict continues exactly",
        "    def state_dict(self):\n"
        "        from kdst_adapt.kit import make_optimizer\n\n"
        "        fresh = make_optimizer(self.parameters, self.options).state_dict()\n"
        '        return {**super().state_dict(), "optimizer": fresh}\n',
    ),
    Mutant(
        "updates-the-users-model",
        "adapt",
        "the user's model is unchanged",
        (
            (
                "hooks",
                "    return Adapter(request, options, run.device)\n",
                "    made = Adapter(request, options, run.device)\n"
                "    made.users = request.model\n    return made\n",
            ),
            (
                "method",
                UPDATE,
                "        for theirs in self.users.parameters():\n"
                "            theirs.data.mul_(0.999)\n" + UPDATE,
            ),
        ),
    ),
    Mutant(
        "switches-the-users-model",
        "adapt",
        "the user's model is unchanged",
        (
            (
                "hooks",
                "    return Adapter(request, options, run.device)\n",
                "    request.model.eval()\n    return Adapter(request, options, run.device)\n",
            ),
        ),
    ),
    _also(
        "wrong-readings",
        "both readings are reported",
        "    @property\n    def diagnostics(self):\n        import attrs\n\n"
        "        shown = super().diagnostics\n"
        "        return attrs.evolve(shown, before_update=shown.before_update + 1,\n"
        "                            after_update=shown.after_update + 1)\n",
    ),
    _update(
        "keeps-every-batch",
        "memory stays constant",
        '        self.seen = [*getattr(self, "seen", []), bytearray(50_000)]\n',
    ),
]

RECONSTRUCT = [
    _reconstruct(
        "counts-from-zero",
        "iterations count from 1 to the end",
        "return self._done, self.scene",
        "return self._done - 1, self.scene",
    ),
    _reconstruct(
        "never-ends",
        "iterations count from 1 to the end",
        "self._done >= self.iterations",
        "self._done >= self.iterations + 1",
    ),
    _reconstruct(
        "leaves-the-range",
        "renders fit their camera",
        "return Render(rgb, seen",
        "return Render(2 * rgb, seen",
    ),
    _reconstruct(
        "swaps-height-and-width",
        "renders fit their camera",
        "return Render(rgb, seen",
        "return Render(rgb.transpose(0, 1), seen",
    ),
    _reconstruct(
        "never-learns", "fitting improves the training views", "self._rate)", "0.0 * self._rate)"
    ),
    _reconstruct(
        "forgets-colours",
        "state_dict continues the fit",
        '        self.scene.colors = state["colors"].to(self.scene.colors).clone()\n',
        "",
    ),
    _reconstruct(
        "moves-the-points",
        "the capture is unchanged",
        "        points = capture.points.to(device)\n",
        "        points = capture.points.to(device)\n        points += 1e-3\n",
    ),
    _reconstruct(
        "saves-nothing",
        "the scene saves to .ply",
        '        path.write_text("\\n".join(lines) + "\\n", encoding="ascii")\n',
        "",
    ),
    _reconstruct("global-order", REPEATS, "(1,), generator=self._generator)", "(1,))"),
]

RULES = "    return edit_with(request, rules(request, options), run)\n"

EDIT = [
    _edit(
        "leaves-a-hook",
        "the pipeline is restored",
        RULES,
        "    request.pipeline.unet.conv_in.register_forward_hook(lambda *_: None)\n" + RULES,
    ),
    _edit(
        "trains-the-model",
        "the pipeline is restored",
        RULES,
        "    for weight in request.pipeline.unet.conv_in.parameters():\n"
        "        weight.data.mul_(1.001)\n" + RULES,
    ),
    _edit(
        "reverses-targets",
        "one image a target, in order, in [0, 1]",
        RULES,
        "    import attrs\n\n    made = edit_with(request, rules(request, options), run)\n"
        "    return attrs.evolve(made, images=made.images[::-1])\n",
    ),
    _edit(
        "redraws-the-source",
        "the source is what it is without an edit",
        RULES,
        "    import attrs\n\n    other = attrs.evolve(request, latents=request.latents.flip(-1))\n"
        "    return edit_with(other, rules(request, options), run)\n",
    ),
    _edit(
        "brightens-every-edit",
        "an edit to its own prompt changes nothing",
        RULES,
        "    import attrs\n\n    made = edit_with(request, rules(request, options), run)\n"
        "    images = [attrs.evolve(e, image=(e.image + 0.1).clamp(0, 1)) for e in made.images]\n"
        "    return attrs.evolve(made, images=images)\n",
    ),
    _edit(
        "mixes-targets",
        "several targets are those of separate runs",
        RULES,
        "    import attrs\n\n    made = edit_with(request, rules(request, options), run)\n"
        "    mean = sum(e.image for e in made.images) / len(made.images)\n"
        "    return attrs.evolve(made, images=[attrs.evolve(e, image=mean) for e in made.images])\n",
    ),
    _edit(
        "depends-on-rows",
        "a bound on rows changes nothing",
        RULES,
        "    import attrs\n\n    made = edit_with(request, rules(request, options), run)\n"
        "    scale = 0.9 if request.max_rows == 1 else 1.0\n"
        "    images = [attrs.evolve(e, image=e.image * scale) for e in made.images]\n"
        "    return attrs.evolve(made, images=images)\n",
    ),
    _edit(
        "ignores-the-path",
        "a real image's source stays on its path",
        RULES,
        "    import attrs\n\n"
        "    return edit_with(attrs.evolve(request, path=None), rules(request, options), run)\n",
    ),
    _edit(
        "overwrites-the-noise",
        "the request is unchanged",
        RULES,
        "    made = edit_with(request, rules(request, options), run)\n"
        "    request.latents.zero_()\n    return made\n",
    ),
]


def _tools(name: str, check: str, *edits: tuple[str, str]) -> Mutant:
    found = tuple(("method", old, new) for old, new in edits)
    return Mutant(name, "augment_with_tools", check, found)


def _invert(name: str, check: str, old: str, new: str) -> Mutant:
    return Mutant(name, "invert", check, (("method", old, new),))


TOOLS = [
    _tools(
        "counts-calls",
        "a shard's calls do not depend on other shards",
        (
            "        gain = min(empty, without) - full\n",
            '        self.seen = getattr(self, "seen", 0) + 1\n'
            "        gain = min(empty, without) - full + self.seen\n",
        ),
    ),
    _tools(
        "rewrites-texts",
        "plain texts come back from annotated ones",
        ("ToolAnnotation(document, text, mine)", "ToolAnnotation(document, text.upper(), mine)"),
    ),
    _tools(
        "says-nothing",
        "every call says what became of it",
        ("kept = gain >= self.options.threshold", "kept = gain >= 1e9"),
        ('reason = "" if kept else f"the loss falls by {gain:.2g} only"', 'reason = ""'),
    ),
    _tools(
        "trains-the-users-model",
        "the user's model is unchanged",
        ("copy.deepcopy(request.model).eval().requires_grad_(False)", "request.model"),
        ("copy.deepcopy(model).requires_grad_(True)", "model"),
    ),
    _tools(
        "forgets-its-optimiser",
        "training resumes exactly",
        ('        self.optimizer.load_state_dict(state["optimizer"])\n', ""),
    ),
    _tools(
        "calls-though-forbidden",
        "forbidden calls are not made",
        (
            "        text += self.tokens.decode(fresh)\n",
            '        text += " [Letters(cat) -> 3]"\n',
        ),
    ),
]

STEP = "yield Inversion(step, list(texts), best.clone(), calls, rows=rows, last=last)"

INVERT = [
    _invert(
        "mixes-up-rows",
        "the cosine is that of the text",
        STEP,
        STEP.replace("list(texts)", "list(texts)[::-1]"),
    ),
    _invert(
        "grows-worse",
        "the cosine never falls",
        STEP,
        STEP.replace("best.clone()", "best.clone() - 0.1 * step"),
    ),
    _invert(
        "drops-a-text",
        "a text for each row, block after block",
        STEP,
        STEP.replace("list(texts)", "list(texts)[1:]"),
    ),
    _invert(
        "never-says-last",
        "a text for each row, block after block",
        STEP,
        STEP.replace("last=last", "last=False"),
    ),
    _invert(
        "looks-at-neighbours",
        "a row does not depend on the others",
        "        count = min(",
        "        wanted = wanted - wanted.mean(0)\n        count = min(",
    ),
    _invert(
        "overwrites-vectors",
        "the vectors are unchanged",
        "        count = min(",
        "        self.request.embeddings.mul_(0.5)\n        count = min(",
    ),
]

MUTANTS = [*CORE, *ADAPT, *RECONSTRUCT, *EDIT, *TOOLS, *INVERT]
