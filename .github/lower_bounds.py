"""Print the lower bounds in pyproject.toml as exact versions, for `pip install --constraint`.

python .github/lower_bounds.py > lowest.txt
pip install --constraint lowest.txt -e '.[all]'
"""

import re
import tomllib
from pathlib import Path


def lowest(project: dict) -> list[str]:
    """Return `name==version` for every requirement of a project and its extras.

    Args:
        project: The table `project` of pyproject.toml.

    Raises:
        ValueError: If a requirement is not of the form `name>=version`.
    """
    extras = {k: v for k, v in project["optional-dependencies"].items() if k != "all"}
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    pins = set()
    for line in lines:
        match = re.fullmatch(r"([a-z0-9-]+)>=([\d.]+)", line)
        if match is None:
            raise ValueError(f"{line!r} is not of the form name>=version")
        pins.add(f"{match[1]}=={match[2]}")
    return sorted(pins)


if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(lowest(tomllib.loads(text)["project"])))
