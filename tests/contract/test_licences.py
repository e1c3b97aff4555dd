"""What is deployed has licences that ask for no more than a notice."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.licences import ALLOWED, LOCKS, licensed


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parent.name}/{lock.name}")
def test_every_locked_package_has_an_allowed_licence(lock: Path) -> None:
    packages = list(licensed(lock))
    assert packages
    assert [each for each in packages if not ALLOWED.issuperset(each.licences)] == []


def test_a_package_with_another_licence_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"a-package-for-no-system==1.0 ; sys_platform == 'none'\npytest=={version('pytest')} \\\n")
    (package,) = licensed(lock)
    assert package.name == "pytest"
    assert ALLOWED.issuperset(package.licences)
    assert not ALLOWED.issuperset(("MIT", "GPL-3.0"))
