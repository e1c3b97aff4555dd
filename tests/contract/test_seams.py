"""All uses of the internals of ministack and moto are in the table of seams, which reports those that have changed."""

import subprocess

import pytest

from local.stack import CLOUD_PYTHON, ROOT


def test_nothing_else_of_the_embedded_aws_imports_ministack_or_moto() -> None:
    lines = [line.split() for file in (ROOT / "local/aws").glob("*.py") for line in file.read_text().splitlines()]
    imported = {words[1].split(".")[0] for words in lines if words[:1] in (["import"], ["from"]) and len(words) > 1}
    assert "local" in imported
    assert not imported & {"ministack", "moto"}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('"ministack.app:gone": None', "ministack.app:gone is not in ministack "),
        ('"ministack.app:app": ("request",)', "does not have the parameters ('request',) in ministack "),
        ('"moto.gone:app": None', "moto.gone:app is not in ministack "),
    ],
)
def test_a_seam_that_moved_is_said_so(entry: str, words: str) -> None:
    code = f"from local.aws import seams; seams.TABLE.update({{{entry}}}); seams.check()"
    finished = subprocess.run([CLOUD_PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert words in finished.stderr.splitlines()[-1]


def test_a_boot_imports_nothing_of_ec2() -> None:
    code = "import sys; from local.aws import seams; seams.check(); print('moto.ec2' in sys.modules)"
    finished = subprocess.run([CLOUD_PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"
