"""torchvision's wheel beside a CPU build of torch: its import works, with either package first."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statements",
    ["import emo_lightning, torchvision", "import torch, datamodules, lightning.pytorch"],
)
def test_imports_of_torchvision_work(statements: str) -> None:
    check = "import sys, torch; assert 'torchvision' in sys.modules; torch.ops.torchvision.nms"
    code = f"{statements}; {check}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_starting_the_package_imports_neither_torch_nor_torchvision() -> None:
    code = "import emo_lightning, sys; assert not {'torch', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
