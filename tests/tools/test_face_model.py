"""The shipped model is what its build makes of its sources."""

from __future__ import annotations

import numpy as np

from emo_lightning.core import assets
from emo_lightning.face.builtin import ASSET
from tools.face_model.__main__ import build
from tools.face_model.canonical import mirror_of, read_canonical
from tools.face_model.spread import Spread, both_sides


def test_canonical_face_is_symmetric_with_open_holes() -> None:
    vertices, triangles = read_canonical(assets.locate("face_landmarker"))
    mirror = mirror_of(vertices)
    assert (
        triangles.shape == (852, 3) and mirror[33] == 263 and mirror[61] == 291 and mirror[4] == 4
    )


def test_spread_keeps_what_is_fixed_and_fades_with_distance() -> None:
    vertices, triangles = read_canonical(assets.locate("face_landmarker"))
    spread, mirror = Spread(vertices, triangles), mirror_of(vertices)
    near, far = spread({61: (0.1, 0, 0)}, 0.05), spread({61: (0.1, 0, 0)}, 0.3)
    assert near[61, 0] == far[61, 0] == 0.1
    assert abs(near[10]).max() < 1e-4 and abs(near[205]).max() < abs(far[205]).max()
    both = spread(both_sides({61: (0.1, 0.02, 0)}, mirror), 0.2)
    np.testing.assert_allclose(both[mirror] * [-1, 1, 1], both, atol=1e-6)


def test_the_build_gives_the_shipped_file(shared_data) -> None:
    arrays = build(shared_data / "3dmm" / "ict_facekit_exp.npz", assets.locate("face_landmarker"))
    with np.load(ASSET, allow_pickle=False) as shipped:
        assert set(shipped.files) == set(arrays)
        # A mode of the mesh is determined up to its sign, which differs between LAPACK builds.
        modes, stored = arrays["id_basis"], shipped["id_basis"]
        signs = np.sign((modes * stored).sum(axis=(1, 2), keepdims=True))
        arrays["id_basis"] = modes * signs
        for name in shipped.files:
            np.testing.assert_allclose(arrays[name], shipped[name], atol=1e-4, err_msg=name)
