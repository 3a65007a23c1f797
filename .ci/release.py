"""What a release needs: one version for every distribution, and the checksums of what was built.

    python .ci/release.py bump 0.2.0
    python .ci/release.py sums dist

`nox -s bump` and `nox -s release` call it.
"""

import hashlib
import re
import sys
from pathlib import Path

OWN = r'("kdst(?:-[a-z0-9-]+)?(?:\[[a-z0-9,-]+\])?)>=[\d.]+,<[\d.]+"'
"""A requirement of another distribution of the project, with its range."""


def projects(root: Path) -> list[Path]:
    """Return the files that describe the core's distribution and every plugin's."""
    return [root / "pyproject.toml", *sorted(root.glob("plugins/*/*/pyproject.toml"))]


def bounds(version: str) -> str:
    """Return the versions with one contract: `>=0.2,<0.3` for 0.2.1, `>=2.4,<3` for 2.4.1."""
    major, minor, _ = map(int, version.split("."))
    above = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f">={major}.{minor},<{above}"


def changed(text: str, version: str) -> str:
    """Return a pyproject.toml with another version and the ranges that go with it."""
    text, versions = re.subn(r'(?m)^version = ".*"$', f'version = "{version}"', text, count=1)
    if not versions:
        raise ValueError("has no line of its version")
    return re.sub(OWN, rf'\1{bounds(version)}"', text)


def bump(root: Path, version: str) -> list[Path]:
    """Give every distribution of a checkout a version; return the files that changed.

    All are read and checked before the first is written. ValueError: no version of three numbers.
    """
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", version):
        raise ValueError(f"{version!r} is no version; allowed: three numbers, such as 0.2.0")
    new = {file: changed(file.read_text(encoding="utf-8"), version) for file in projects(root)}
    home = root / "kdst_core" / "__init__.py"
    pattern = r'(?m)^__version__ = ".*"$'
    new[home] = re.sub(pattern, f'__version__ = "{version}"', home.read_text(encoding="utf-8"))
    log = root / "CHANGELOG.md"
    new[log] = headed(log.read_text(encoding="utf-8"), version)
    different = [f for f, text in new.items() if f.read_text(encoding="utf-8") != text]
    for file in different:
        file.write_text(new[file], encoding="utf-8")
    return different


def headed(log: str, version: str) -> str:
    """Return the changelog with a heading for a version above the others, once."""
    heading = f"\n## {version}\n"
    if heading in log:
        return log
    if "\n## " not in log:
        raise ValueError("the changelog has no heading of a version")
    return log.replace("\n## ", f"{heading}\n## ", 1)


def sums(folder: Path) -> Path:
    """Write `SHA256SUMS` beside the built files, in the form that `sha256sum -c` reads.

    ValueError where nothing is built.
    """
    there = folder.iterdir() if folder.is_dir() else ()
    built = sorted(f for f in there if f.suffix in (".whl", ".gz"))
    if not built:
        raise ValueError(f"{folder} holds nothing that was built")
    lines = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in built]
    written = folder / "SHA256SUMS"
    written.write_text("".join(lines), encoding="utf-8")
    return written


def main(words: list[str]) -> int:
    """Carry out one of the two words; return the exit code."""
    try:
        match words:
            case ["bump", version]:
                print(f"{version}: {len(bump(Path.cwd(), version))} files changed")
            case ["sums", folder]:
                print(sums(Path(folder)))
            case _:
                raise ValueError(__doc__)
    except (OSError, ValueError) as e:
        print(f"Error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
