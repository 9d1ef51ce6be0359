"""How the built-in face model was made: ``python -m tools.face_model --ict FILE [--landmarker
FILE]``.

Sources, and nothing else:

- MediaPipe's canonical face (Apache-2.0), read from ``face_landmarker.task``: the mean and the
  triangles.
- ICT-FaceKit (MIT): its neutral face and expression shapes, registered to the canonical face; their
  displacements give the
  expression directions. The file is an ``.npz`` of arrays read from the ``FaceXModel`` meshes:
  ``neutral (26719, 3)``, ``quads (F, 4)``, ``exp (57, 26719, 3)`` displacements and ``exp_names
  (57,)``.
- Identity directions and all weights here: our own.
"""
