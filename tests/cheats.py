"""Methods that look at what they are judged by, or leave something behind: wrong methods of a second kind.

Each names the check that must fail first; what follows from it is not reported.
"""

from tests.mutants import INSIDE, RULES, SETTINGS, STEP, UPDATE, Mutant

GIVEN = "reads only what it is given"
WORKS = "a small run works"
LEFT = "nothing is left running"
MODEL = "the user's model is unchanged"
MEMORY = "memory stays constant"
RESTORED = "the pipeline is restored"
HOOK = "    return Adapter(request, options, run.device)\n"
MATH = "import math\n"
FRAMES = "        import sys\n\n        frame = sys._getframe()\n        while frame is not None:\n"


def _in_update(
    name: str, check: str, code: str, *, before: str = "", processes: bool = False
) -> Mutant:
    """A method of `adapt` that does something else before every update."""
    edits = [("method", UPDATE, code + UPDATE)]
    if before:
        edits.append(("method", MATH, MATH + before))
    return Mutant(name, "adapt", check, tuple(edits), processes)


def _sets(name: str, code: str) -> Mutant:
    """A method of `adapt` that changes a setting of torch, numpy or Python."""
    lines = "".join(f"        {line}\n" for line in code.split("; "))
    return _in_update(name, SETTINGS, f"{lines}\n")


ADAPT = [
    _in_update(
        "labels-in-frames",
        GIVEN,
        f"{FRAMES}"
        "            for value in list(frame.f_locals.values()):\n"
        "                kind = str(getattr(value, 'dtype', ''))\n"
        "                if kind == 'torch.int64' and value.shape == (len(x),) and value.max() < 5:\n"
        "                    x = x + value[:, None, None, None]\n"
        "            frame = frame.f_back\n",
    ),
    _in_update(
        "labels-by-collector",
        GIVEN,
        "        import gc\n\n"
        "        for value in gc.get_objects():\n"
        "            if type(value).__name__ == 'Shift' and value.name != 'clean':\n"
        "                x = x + float(value.labels[: len(x)].mean())\n",
    ),
    Mutant(
        "labels-in-the-hook",
        "adapt",
        GIVEN,
        (
            (
                "hooks",
                HOOK,
                "    import sys\n\n    found, frame = [], sys._getframe()\n"
                "    while frame is not None:\n"
                "        found += [v for k, v in frame.f_locals.items() if k == 'labels']\n"
                "        frame = frame.f_back\n"
                "    made = Adapter(request, options, run.device)\n"
                "    made.known = found[0] if found else None\n    return made\n",
            ),
            (
                "method",
                UPDATE,
                "        if self.known is not None:\n"
                "            x = x + float(self.known[: len(x)].mean())\n" + UPDATE,
            ),
        ),
    ),
    _in_update(
        "loads-the-test-set",
        WORKS,
        "        from kdst_adapt.default import data\n\n        x = x + data.load(train=False)[1].mean()\n",
    ),
    Mutant(
        "hooks-the-users-model",
        "adapt",
        MODEL,
        (("hooks", HOOK, "    request.model.register_forward_hook(lambda *_: None)\n" + HOOK),),
    ),
    Mutant(
        "replaces-a-forward",
        "adapt",
        MODEL,
        (("hooks", HOOK, "    request.model.forward = request.model.forward\n" + HOOK),),
    ),
    _sets(
        "hooks-every-module",
        "import torch; hook = torch.nn.modules.module.register_module_forward_hook;"
        " hook(lambda *_: None)",
    ),
    _sets(
        "counts-threads-itself", "import torch; torch.set_num_threads(torch.get_num_threads() + 1)"
    ),
    _sets("benchmarks-cudnn", "import torch; torch.backends.cudnn.benchmark = True"),
    _sets("switches-mkldnn-off", "import torch; torch.backends.mkldnn.enabled = False"),
    _sets("lowers-precision", "import torch; torch.set_float32_matmul_precision('medium')"),
    _sets("leaves-anomaly-mode", "import torch; torch.autograd.set_detect_anomaly(True)"),
    _sets("seeds-numpy", "import numpy; numpy.random.seed(0)"),
    _sets("seeds-python", "import random; random.seed(0)"),
    _sets("silences-numpy", "import numpy; numpy.seterr(all='ignore')"),
    _sets(
        "replaces-a-measure",
        "from kdst_adapt import measures; record = measures.record;"
        " measures.record = lambda logits, labels: record(logits * 2, labels)",
    ),
    _sets("leaves-a-mode", "import torch; torch.utils._device.DeviceContext('cpu').__enter__()"),
    _sets("changes-a-signal", "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)"),
    _sets("replaces-a-stream", "import io, sys; sys.stdin = io.StringIO()"),
    _sets("sets-a-timeout", "import socket; socket.setdefaulttimeout(5)"),
    _sets("adds-a-path", "import sys; sys.path.insert(0, '/nowhere')"),
    _in_update(
        "traces-python", WORKS, "        import sys\n\n        sys.setprofile(lambda *_: None)\n"
    ),
    _in_update(
        "leaves-a-thread",
        WORKS,
        "        import threading\n        import time\n\n"
        "        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()\n",
    ),
    _in_update(
        "works-on-in-a-pool",
        WORKS,
        "        import time\n        from concurrent.futures import ThreadPoolExecutor\n\n"
        "        ThreadPoolExecutor(1).submit(time.sleep, 3)\n",
    ),
    _in_update(
        "keeps-a-pool",
        LEFT,
        "        POOL.submit(int).result()\n",
        before="from concurrent.futures import ThreadPoolExecutor\n\nPOOL = ThreadPoolExecutor(1)\n",
    ),
    _in_update(
        "labels-in-a-copy-of-the-process",
        GIVEN,
        "        import gc\n        import multiprocessing\n\n"
        "        def look(end):\n"
        "            found = [v for v in gc.get_objects() if type(v).__name__ == 'Shift']\n"
        "            end.send(sum(float(v.labels[: len(x)].mean()) for v in found if v.name != 'clean'))\n\n"
        "        context = multiprocessing.get_context('fork')\n"
        "        mine, its = context.Pipe()\n"
        "        process = context.Process(target=look, args=(its,))\n"
        "        process.start()\n        x = x + mine.recv()\n        process.join()\n",
    ),
    _in_update(
        "leaves-a-program",
        LEFT,
        "        import subprocess\n\n        subprocess.Popen(['sleep', '20'])\n",
    ),
    _in_update(
        "writes-by-a-program",
        INSIDE,
        "        import subprocess\n\n        subprocess.run(['touch', 'left-behind'], check=True)\n",
        processes=True,
    ),
    _in_update(
        "writes-at-home-by-a-program",
        INSIDE,
        "        import subprocess\n\n"
        "        subprocess.run(['sh', '-c', 'mkdir -p ~/.mutant'], check=True)\n",
        processes=True,
    ),
    _in_update(
        "removes-a-file-of-the-user",
        INSIDE,
        "        from pathlib import Path\n\n        Path('notes.txt').unlink(missing_ok=True)\n",
    ),
    _in_update(
        "removes-by-a-program",
        INSIDE,
        "        import subprocess\n\n        subprocess.run(['rm', '-f', 'notes.txt'], check=True)\n",
        processes=True,
    ),
    _in_update(
        "keeps-arrays",
        MEMORY,
        "        KEPT.append(x.numpy().copy())\n",
        before="\nKEPT: list = []\n",
    ),
    _in_update(
        "remembers-what-it-saw",
        MEMORY,
        "        KNOWN.setdefault(x.numpy().tobytes(), len(KNOWN))\n",
        before="\nKNOWN: dict = {}\n",
    ),
    _in_update(
        "keeps-an-image-a-batch",
        MEMORY,
        "        KEPT[len(KEPT)] = x[0].clone()\n",
        before="\nKEPT: dict = {}\n",
    ),
]

START = "        self.iterations = options.iterations or request.iterations or 200\n"
RENDER = "        front, depth = self.front(camera)\n"

RECONSTRUCT = [
    Mutant(
        "held-out-views-in-frames",
        "reconstruct",
        GIVEN,
        (
            (
                "method",
                "        grey = torch.full_like(points, 0.5)\n",
                "        import sys\n\n"
                "        grey, frame = torch.full_like(points, 0.5), sys._getframe()\n"
                "        while frame is not None:\n"
                "            for value in list(frame.f_locals.values()):\n"
                "                if type(value).__name__ == 'Capture' and value is not capture:\n"
                "                    grey = grey * float(value.images[0].mean())\n"
                "            frame = frame.f_back\n",
            ),
        ),
    ),
    Mutant(
        "photograph-when-rendering",
        "reconstruct",
        GIVEN,
        (
            (
                "method",
                RENDER,
                f"{FRAMES}"
                "            found = frame.f_locals.get('photograph')\n"
                "            if found is not None and found.shape[0] == camera.height:\n"
                "                return Render(found, torch.ones(found.shape[:2]))\n"
                "            frame = frame.f_back\n" + RENDER,
            ),
        ),
    ),
    Mutant(
        "renders-the-embedded-capture",
        "reconstruct",
        WORKS,
        (
            (
                "method",
                START,
                START
                + "        from kdst_reconstruct.default import solids\n\n        solids.capture()\n",
            ),
        ),
    ),
]

EDIT = [
    Mutant(
        "references-in-frames",
        "edit",
        GIVEN,
        (
            (
                "hooks",
                RULES,
                "    import sys\n\n    import attrs\n\n    frame = sys._getframe()\n"
                "    made = edit_with(request, rules(request, options), run)\n"
                "    while frame is not None:\n"
                "        found = frame.f_locals.get('reference')\n"
                "        if found is not None:\n"
                "            first = attrs.evolve(made.images[0], image=found)\n"
                "            made = attrs.evolve(made, images=[first, *made.images[1:]])\n"
                "        frame = frame.f_back\n    return made\n",
            ),
        ),
    ),
    Mutant(
        "hooks-the-text-encoder",
        "edit",
        RESTORED,
        (
            (
                "hooks",
                RULES,
                "    request.pipeline.text_encoder.register_forward_pre_hook(lambda *_: None)\n"
                + RULES,
            ),
        ),
    ),
    Mutant(
        "leaves-its-scheduler",
        "edit",
        RESTORED,
        (
            (
                "hooks",
                RULES,
                "    import copy\n\n"
                "    request.pipeline.scheduler = copy.copy(request.pipeline.scheduler)\n" + RULES,
            ),
        ),
    ),
]

TOOLS = [
    Mutant(
        "answers-in-frames",
        "augment_with_tools",
        GIVEN,
        (
            (
                "method",
                "        text += self.tokens.decode(fresh)\n",
                f"{FRAMES}"
                "            for value in frame.f_locals.get('problems') or ():\n"
                "                if value.prompt == prompt.text:\n"
                "                    text += value.answer\n"
                "            frame = frame.f_back\n"
                "        text += self.tokens.decode(fresh)\n",
            ),
        ),
    ),
    Mutant(
        "hooks-the-language-model",
        "augment_with_tools",
        MODEL,
        (
            (
                "method",
                "        self.options, self.seed = options, request.seed\n",
                "        request.model.register_forward_hook(lambda *_: None)\n"
                "        self.options, self.seed = options, request.seed\n",
            ),
        ),
    ),
]

INVERT = [
    Mutant(
        "originals-by-collector",
        "invert",
        GIVEN,
        (
            (
                "method",
                f"            {STEP}",
                "            import gc\n\n"
                "            for value in gc.get_objects():\n"
                "                if type(value).__name__ == 'Originals':\n"
                "                    texts = list(value.texts)[rows.start : rows.stop]\n"
                f"            {STEP}",
            ),
        ),
    ),
    Mutant(
        "draws-the-held-out-notes",
        "invert",
        WORKS,
        (("method", 'notes("train", options.size)', 'notes("held-out", options.size)'),),
    ),
]

CHEATS = [*ADAPT, *RECONSTRUCT, *EDIT, *TOOLS, *INVERT]
"""Beside `MUTANTS`."""
