"""Builds the wheel. pyproject.toml has everything else.

The wheel has the library twice: as `service`, which a user's own folder of that name hides, and as a copy in
`commercetools_segment`, whose imports do not use that name.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_OURS = Path(__file__).parent / "service"
_NOT_OF_THE_LIBRARY = shutil.ignore_patterns("app.py", "cli.py", "logs.py", "operations", "py.typed", "__pycache__")
_NAMES = "|".join(path.stem for path in _OURS.iterdir())
_REFERENCE = re.compile(rf"\bservice(?=\.(?:{_NAMES})\b)")  # in an import or a text: service.config


class WithTheLibrary(build_py):
    """Builds the packages, and the copy."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # there, commercetools_segment imports from service
        package = Path(self.build_lib) / "commercetools_segment"
        shutil.rmtree(package / "_service", ignore_errors=True)
        shutil.copytree(_OURS, package / "_service", ignore=_NOT_OF_THE_LIBRARY)
        for path in package.rglob("*.py"):
            text = path.read_text("utf-8")
            path.write_text(_REFERENCE.sub("commercetools_segment._service", text), "utf-8")


setup(cmdclass={"build_py": WithTheLibrary})
