"""Write ``builtin.npz``; see the package."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.face.builtin import ASSET, rigid_weights
from tools.face_model.canonical import mirror_of, read_canonical
from tools.face_model.identity import identity_basis
from tools.face_model.mean import mean_face
from tools.face_model.registration import read_ict, transfer
from tools.face_model.spread import Spread
from tools.face_model.units import expression_basis


def build(ict: Path, landmarker: Path) -> dict[str, np.ndarray]:
    """The arrays of the asset."""
    canonical, triangles = read_canonical(landmarker)
    mirror, spread = mirror_of(canonical), Spread(canonical, triangles)
    mean = mean_face(canonical, spread, mirror)
    exp = expression_basis(mean, transfer(read_ict(ict), canonical), spread, mirror)
    identity = identity_basis(mean, spread, mirror, rigid_weights())
    return {
        "mean": mean.astype(np.float32),
        "triangles": triangles.astype(np.int32),
        "exp_basis": exp.astype(np.float32),
        "id_basis": identity.astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Build the built-in face model from its two sources."
    )
    parser.add_argument(
        "--ict",
        type=Path,
        required=True,
        help="npz of ICT-FaceKit arrays, see the package's docstring",
    )
    parser.add_argument(
        "--landmarker", type=Path, help="face_landmarker.task (default: where assets find it)"
    )
    parser.add_argument("--out", type=Path, default=ASSET, help="default: the package's own asset")
    args = parser.parse_args()
    arrays = build(args.ict, assets.locate("face_landmarker", args.landmarker))
    temporary = args.out.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    move_into_place(temporary, args.out)
    print(f"{args.out}: " + ", ".join(f"{name} {array.shape}" for name, array in arrays.items()))


if __name__ == "__main__":
    main()
