"""The wheel, installed without extras and outside the repository: once for all tests and all processes of a run."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

ROOT = Path(__file__).parent.parent
OF_THE_WHEEL = ("pyproject.toml", "setup.py", "README.md", "service", "commercetools_segment")
NAME = re.compile(r"[\w.-]+")


def installed_in(folder: Path) -> Path:
    """Return the `bin` of a virtual environment in this folder that has the wheel and what the wheel requires."""
    environment, done = folder / "venv", folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            venv.create(environment, symlinks=True)
            _link_what_is_required(environment)
            _install(_wheel(folder), environment)
            done.touch()
    return environment / "bin"


def _wheel(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    for name in OF_THE_WHEEL:  # a build writes beside its sources
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    [wheel] = folder.glob("*.whl")
    return wheel


def _install(wheel: Path, environment: Path) -> None:
    _pip("--python", str(environment / "bin" / "python"), "install", "--no-compile", str(wheel))


def _pip(*arguments: str) -> None:
    command = next(index for index, each in enumerate(arguments) if each in {"wheel", "install"}) + 1
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run(  # noqa: S603  # our own arguments
        [sys.executable, "-m", "pip", *arguments[:command], *options, *arguments[command:]], check=True, timeout=100
    )


def _link_what_is_required(environment: Path) -> None:
    """Link the packages that the wheel requires without extras, from the environment of the tests."""
    [site] = environment.glob("lib/python*/site-packages")
    for found in required("commercetools-segment"):
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            link, target = site / top, Path(str(found.locate_file(top)))
            if target.exists() and not link.exists():
                link.symlink_to(target)


def required(name: str) -> Iterator[Distribution]:
    """Return the distributions that this one requires, and those that they require. An extra's own are left out."""
    seen, waiting = {name}, [(name, frozenset[str]())]
    while waiting:
        here, extras = waiting.pop()
        found = distribution(here)
        if here != name:
            yield found
        for requirement in found.requires or ():
            text, _, marker = requirement.partition(";")
            of_extra = re.search(r"""extra\s*==\s*["']([\w.-]+)["']""", marker)
            [other] = NAME.findall(text)[:1]
            if (of_extra and of_extra[1] not in extras) or other in seen or not _is_here(other):
                continue
            seen.add(other)
            asked = re.search(r"\[([^\]]*)\]", text)
            waiting.append((other, frozenset(asked[1].replace(" ", "").split(",")) if asked else frozenset()))


def _is_here(name: str) -> bool:
    """Tell whether a distribution is installed: one whose marker is about another system is not."""
    return any(True for _ in Distribution.discover(name=name))


def environment(**settings: str) -> dict[str, str]:
    """Return an environment in which nothing points to the repository."""
    return {"PATH": os.environ["PATH"], **settings}
