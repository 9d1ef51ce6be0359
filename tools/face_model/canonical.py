"""The canonical face inside MediaPipe's landmarker file: a protocol buffer, of which a few fields
are read.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np

from emo_lightning.face import regions

MEMBER = "geometry_pipeline_metadata_landmarks.binarypb"
METADATA_MESH, MESH_VERTICES, MESH_INDICES = 1, 3, 4
"""Field numbers of mediapipe/tasks/cc/vision/face_geometry/proto: the mesh; its buffers."""
VERTEX_WIDTH = 5
"""x, y, z, u, v."""


def read_canonical(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``(468, 3)`` in model space (see :mod:`emo_lightning.face.builtin`) and triangles
    ``(852, 3)`` int32.

    The file's mesh also covers both eyes and the mouth; those triangles are left out, so that lids
    and lips can part.
    """
    with zipfile.ZipFile(path) as archive:
        fields = _fields(archive.read(MEMBER))
    mesh = _fields(fields[METADATA_MESH][0])
    vertices = np.array([struct.unpack("<f", raw)[0] for raw in mesh[MESH_VERTICES]]).reshape(
        -1, VERTEX_WIDTH
    )[:, :3]
    triangles = np.array(mesh[MESH_INDICES], np.int32).reshape(-1, 3)
    vertices = vertices * [1.0, -1.0, -1.0]
    vertices /= np.linalg.norm(np.subtract(*vertices[list(regions.EYE_CORNERS)]))
    holes = [
        set(np.concatenate(rows))
        for rows in (regions.LIP_INNER, regions.EYE_RIGHT, regions.EYE_LEFT)
    ]
    skin = [not any(set(t) <= hole for hole in holes) for t in triangles]
    return vertices - vertices[regions.NASION], triangles[skin]


def mirror_of(vertices: np.ndarray) -> np.ndarray:
    """For each vertex the number of its mirror image."""
    distance = np.linalg.norm((vertices * [-1.0, 1.0, 1.0])[:, None] - vertices[None], axis=2)
    partner = distance.argmin(1)
    if not (partner[partner] == np.arange(len(vertices))).all():
        raise ValueError("the mesh is not symmetric")
    return partner


def _fields(data: bytes) -> dict[int, list]:
    """Field number -> values (int for varints, bytes for the rest) of one protocol-buffer message."""
    out: dict[int, list] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        out.setdefault(key >> 3, []).append(value)
    return out


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
