"""Judges of others: their files are read exactly, their classes keep their names, and without them
there is a reason and no number."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.face.landmarks import to_68
from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges import emonet, emotiefflib, face_embedding, faceapi
from evaluation.judges.face_crops import (
    clip_probabilities,
    cut,
    frame_probabilities,
    grow,
    letterbox,
    outline,
    square,
)
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.protocol import Unavailable
from evaluation.records import Record
from evaluation.suite import EXTRACTORS, SUITE, describe_judge, unavailable
from evaluation.suite.emotion import EXTERNAL_JUDGES, accuracy

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where assets are looked for; nothing is there yet."""
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    return tmp_path


# Cutting


def test_a_box_shows_its_own_pixels_and_black_beyond_the_picture() -> None:
    picture = np.arange(1, 49, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(cut(picture, (1.0, 2.0, 3.0, 2.0), 3, 2), picture[2:4, 1:4])
    assert not cut(picture, (-9.0, 0.0, 4.0, 4.0), 4, 4).any()
    narrow = letterbox(picture, (1.0, 0.0, 2.0, 4.0), 4)
    np.testing.assert_array_equal(narrow[:, 1:3], picture[:, 1:3])
    assert not narrow[:, [0, 3]].any()


def test_boxes_grow_about_their_middle_and_rise() -> None:
    box = outline(np.array([[2.0, 3.0, 9.0], [6.0, 5.0, 9.0]]))
    assert box == (2.0, 3.0, 4.0, 2.0)
    assert grow(box, 1.5, 2.0, rise=0.5) == (1.0, 1.0, 6.0, 4.0)
    assert square(box, 6.0) == (1.0, 1.0, 6.0, 6.0)


# face-api.js


def to_tensorflow(net: faceapi.ExpressionNet, packed: bool) -> tuple[list[dict], bytes]:
    """A manifest and shard of a network's tensors; packed: all but biases as bytes, whose values
    the network then takes."""
    entries, data = [], b""
    for name, value in net.state_dict().items():
        axes = faceapi.ORDER[name.rsplit(".", 1)[-1]]
        numbers = value.permute(*np.argsort(axes).tolist()).contiguous().numpy()
        entry = {"name": name.replace(".", "/"), "shape": list(numbers.shape), "dtype": "float32"}
        if packed and not name.endswith("bias"):
            low, scale = float(numbers.min()), float(np.ptp(numbers)) / 255
            numbers = np.rint((numbers - low) / scale).astype(np.uint8)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
        entries.append(entry)
        data += numbers.tobytes()
    return entries, data


@pytest.fixture(scope="module")
def net() -> faceapi.ExpressionNet:
    """face-api.js' network with random weights."""
    found, generator = faceapi.ExpressionNet(), torch.Generator().manual_seed(0)
    for value in found.parameters():
        value.data = torch.randn(value.shape, generator=generator) / max(value[0].numel(), 1) ** 0.5
    return found.eval()


def write(folder: Path, entries: object, data: bytes) -> tuple[Path, Path]:
    manifest, shard = folder / "manifest.json", folder / "shard"
    manifest.write_text(json.dumps([{"weights": entries, "paths": ["../../etc/passwd"]}]))
    shard.write_bytes(data)
    return manifest, shard


@pytest.mark.parametrize("packed", [False, True])
def test_a_shard_gives_back_the_network(
    net: faceapi.ExpressionNet, packed: bool, tmp_path: Path
) -> None:
    entries, data = to_tensorflow(net, packed)
    found = faceapi.load(*write(tmp_path, entries, data)).state_dict()
    for (name, value), entry in zip(net.state_dict().items(), entries, strict=True):
        step = entry.get("quantization", {"scale": 0.0})["scale"]
        assert float((found[name] - value).abs().max()) <= step * 0.51, name


def test_what_is_no_such_shard_is_refused(net: faceapi.ExpressionNet, tmp_path: Path) -> None:
    entries, data = to_tensorflow(net, packed=True)
    first = entries[0]
    wrong = [
        (entries, data[:-1], "end before"),
        (entries, data + b"x", "manifest says"),
        (entries[:-1], data[:-28], "fc.bias"),
        ([{**first, "dtype": "int32"}, *entries[1:]], data, "neither float32"),
        ([{**first, "shape": [-1, 3]}, *entries[1:]], data, "neither float32"),
        ([{**first, "shape": [1 << 40, 3]}, *entries[1:]], data, "end before"),
        ([{"name": "x"}], data, "no manifest"),
        ("weights", data, "no manifest"),
    ]
    for manifest, shard, problem in wrong:
        with pytest.raises(UserError, match=problem) as refusal:
            faceapi.load(*write(tmp_path, manifest, shard))
        assert "\n" not in str(refusal.value)


def test_borders_are_tensorflows() -> None:
    """With stride 2 an even picture has its zeros right and below: the first output is centred on
    pixel 1, not 0."""
    layer, picture = faceapi.Convolution(1, 1, 2, plain=True), torch.zeros(1, 1, 4, 4)
    layer.filters.data[0, 0, 1, 1] = 1.0
    picture[0, 0, 1, 1] = 1.0
    assert layer(picture)[0, 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_face_apis_own_numbers(shared_data: Path) -> None:
    """Its real weights on two noise pictures, beside what face-api.js 0.22 answers (TensorFlow.js
    on the CPU)."""
    where = shared_data / "weights" / "faceapi"
    files = [where / assets.get(name).filename for name in (faceapi.MANIFEST, faceapi.SHARD)]
    noise = np.random.default_rng(0).integers(
        0, 256, (2, faceapi.SIDE, faceapi.SIDE, 3), dtype=np.uint8
    )
    theirs = [
        [0.3522087, 0.0491211, 0.4050626, 0.0533010, 0.0103844, 0.0267636, 0.1031586],
        [0.2474559, 0.5679598, 0.1183108, 0.0414590, 0.0130134, 0.0011439, 0.0106572],
    ]
    np.testing.assert_allclose(
        faceapi.FaceApiJudge(CPU, faceapi.load(*files)).probabilities(noise), theirs, atol=1e-5
    )


def test_a_smile_is_seen_where_there_is_a_face(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(assets.ENVIRONMENT, str(shared_data / "weights" / "faceapi"))
    tracker, picture = LandmarkJudge(), np.ascontiguousarray(astronaut()[:300, 75:375])
    points = np.stack([tracker.place(picture), np.full((478, 3), np.nan, np.float32)])
    tracker.close()
    found = frame_probabilities(faceapi.FaceApiJudge(CPU), np.stack([picture, picture]), points)
    assert np.isnan(found[1]).all() and found[0].sum() == pytest.approx(1.0, abs=1e-5)
    assert EMOTIONS[int(found[0].argmax())] == "happy" and found[0, EMOTIONS.index("contempt")] == 0
    mean = clip_probabilities(found)
    assert (
        mean is not None
        and mean.argmax() == found[0].argmax()
        and clip_probabilities(found[1:]) is None
    )
    assert describe_judge(EXTRACTORS["emotion_faceapi"]).sha256 == assets.get(faceapi.SHARD).sha256


# EmotiEffLib


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer."""

    def varint(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

    return (
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
    )


def onnx_file(weight: np.ndarray, bias: np.ndarray, side: int) -> bytes:
    """An ONNX network ``logits = mean over the picture @ weight + bias`` for ``(1, 3, side,
    side)``."""

    def tensor(name: str, values: np.ndarray) -> bytes:
        shape = b"".join(field(1, n) for n in values.shape)
        return (
            shape + field(2, 1) + field(8, name.encode()) + field(9, values.astype("<f4").tobytes())
        )

    def place(name: str, shape: Sequence[int]) -> bytes:
        sizes = b"".join(field(1, field(1, n)) for n in shape)
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, sizes)))

    def node(kind: str, inputs: Sequence[str], output: str) -> bytes:
        return field(
            1,
            b"".join(field(1, n.encode()) for n in inputs)
            + field(2, output.encode())
            + field(4, kind.encode()),
        )

    nodes = (
        node("GlobalAveragePool", ["input"], "mean")
        + node("Flatten", ["mean"], "flat")
        + node("Gemm", ["flat", "w", "b"], "output")
    )
    ends = field(11, place("input", (1, 3, side, side))) + field(
        12, place("output", (1, len(bias)))
    )
    graph = (
        nodes + field(2, b"g") + field(5, tensor("w", weight)) + field(5, tensor("b", bias)) + ends
    )
    return field(1, 7) + field(7, graph) + field(8, field(1, b"") + field(2, 11))


def test_emotiefflibs_network_sees_rgb_as_imagenet_and_its_classes_keep_their_names(
    folder: Path,
) -> None:
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(3, 8)), rng.normal(size=8)
    (folder / "enet_b0_8_best_vgaf.onnx").write_bytes(onnx_file(weight, bias, 224))
    judge = emotiefflib.EmotiEffJudge()
    faces = rng.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    means = (faces.mean(axis=(1, 2)) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    powers = np.exp(means @ weight + bias)
    np.testing.assert_allclose(
        judge.probabilities(faces), powers / powers.sum(axis=1, keepdims=True), atol=1e-5
    )
    points = np.zeros((1, 478, 3), np.float32)
    points[0, ::2, :2] = 100.0
    seen, answer = (
        frame_probabilities(judge, faces[:1], points)[0],
        judge.probabilities(judge.cut(faces[0], to_68(points[0]))[None])[0],
    )
    named = dict(
        zip(
            ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"),
            answer,
            strict=True,
        )
    )
    assert (
        seen[EMOTIONS.index("happy")] == named["Happiness"]
        and seen[EMOTIONS.index("neutral")] == named["Neutral"]
    )
    assert sorted(judge.classes) == sorted(EMOTIONS) and emotiefflib.describe().sha256


@pytest.mark.parametrize(
    "content", [b"", b"not a network", onnx_file(np.zeros((3, 7)), np.zeros(7), 224)]
)
def test_another_onnx_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / "enet_b0_8_best_vgaf.onnx").write_bytes(content)
    with pytest.raises(UserError, match="eight classes") as refusal:
        emotiefflib.EmotiEffJudge()
    assert "\n" not in str(refusal.value)


# EmoNet

EMONET = [
    0.968323,
    -0.592267,
    0.122297,
    0.433506,
    -0.756810,
    1.347748,
    -1.494993,
    1.937538,
    -1.936159,
    2.076376,
]


def numbered(module: torch.nn.Module) -> None:
    """Fill every tensor by a formula, so that any program can make the same network."""
    for number, (name, value) in enumerate(sorted(module.state_dict().items())):
        if value.is_floating_point():
            wave = torch.sin(
                torch.arange(value.numel(), dtype=torch.float64) * 0.37 + number
            ).reshape(value.shape)
            if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.copy_(1 + 0.3 * wave)
            else:
                value.copy_(wave * (0.1 if value.ndim == 1 else (2 / value[0].numel()) ** 0.5))


@pytest.fixture(scope="module")
def emonet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = emonet.ToisoulEmoNet()
    numbered(net)
    path = tmp_path_factory.mktemp("emonet") / "emonet_8.pth"
    torch.save(
        {
            f"module.{name}": value
            for name, value in net.state_dict().items()
            if not name.endswith("num_batches_tracked")
        },
        path,
    )
    return path


def test_emonets_numbers(emonet_file: Path) -> None:
    """What the authors' code answers with the same weights for the same picture."""
    ramp = torch.arange(3 * 256 * 256, dtype=torch.float64).reshape(1, 3, 256, 256)
    with torch.inference_mode():
        found = emonet.load(emonet_file)((torch.sin(ramp * 0.01) / 2 + 0.5).float())[0]
    np.testing.assert_allclose(found.numpy(), EMONET, rtol=1e-4, atol=1e-4)


def test_emonet_takes_the_square_of_its_authors_and_refuses_other_weights(
    emonet_file: Path, folder: Path
) -> None:
    state = torch.load(emonet_file, weights_only=True)
    (folder / "emonet_8.pth").symlink_to(emonet_file)
    judge = emonet.EmoNetJudge(CPU)
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[150:250, 160:240] = 255
    corners = np.array([[100.0, 90.0], [300.0, 310.0]])
    # A box of 200 x 220 is seen in a square of 381.8 around (200, 200).
    seen = judge.cut(picture, corners)[..., 0] > 127
    assert (
        abs(seen.any(axis=1).sum() - 100 * 256 / 381.8) < 1.1
        and abs(seen.any(axis=0).sum() - 80 * 256 / 381.8) < 1.1
    )
    other = folder / "other.pth"
    for tensors in (dict(list(state.items())[1:]), {**state, "extra": torch.zeros(1)}):
        torch.save(tensors, other)
        with pytest.raises(UserError, match="other tensors"):
            emonet.load(other)


# dlib


@pytest.fixture
def dlib_there() -> Iterator[None]:
    """Only where dlib and its weights are installed."""
    try:
        face_embedding.describe("dlib")
    except (Unavailable, UserError) as error:
        pytest.skip(str(error))
    yield


def test_dlib_knows_a_face_again(dlib_there: None) -> None:
    tracker, picture = LandmarkJudge(), np.ascontiguousarray(astronaut()[:300, 75:375])
    points = np.stack([tracker.place(picture), np.full((478, 3), np.nan, np.float32)])
    dim = (picture * 0.7).astype(np.uint8)
    tracker.close()
    found = face_embedding.DlibFaceJudge().embed_faces(np.stack([picture, picture]), points)
    again = face_embedding.DlibFaceJudge().embed_faces(dim[None], points[:1])
    assert found.shape == (2, 128) and np.isnan(found[1]).all()
    assert np.linalg.norm(found[0] - again[0]) < 0.4


# The suite


def test_without_their_files_each_is_null_for_a_reason_of_one_line(folder: Path) -> None:
    names = [judge.column for judge in EXTERNAL_JUDGES]
    if importlib.util.find_spec("dlib") is None:
        names.append("csim_dlib")
    reasons = unavailable({name: SUITE[name] for name in names})
    assert list(reasons) == names
    for name, reason in reasons.items():
        assert "\n" not in reason and ("pip install" in reason or assets.ENVIRONMENT in reason), (
            name
        )
    assert all(
        assets.get(asset).filename in reasons["acc_emo_faceapi"]
        for asset in (faceapi.MANIFEST, faceapi.SHARD)
    )


def test_a_file_of_another_content_is_refused(folder: Path) -> None:
    for asset in (faceapi.MANIFEST, faceapi.SHARD):
        (folder / assets.get(asset).filename).write_bytes(b"[]")
    with pytest.raises(Unavailable, match="another content"):
        describe_judge(EXTRACTORS["emotion_faceapi"])


def test_clips_of_an_emotion_that_a_judge_does_not_know_are_left_out_and_counted() -> None:
    class Clips:
        reference = None
        records = [  # noqa: RUF012
            Record(
                "s", str(i), wanted, features={"seen": np.eye(8)[EMOTIONS.index("happy")].tolist()}
            )
            for i, wanted in enumerate(["happy", "contempt", "sad", None])
        ]

    found = accuracy(Clips(), "acc", "seen", "X", faceapi.CLASSES)
    assert found.samples["acc"] == [1.0, 0.0]
    about = found.details["confusion by X"]["about"]
    assert "1 more have no emotion label" in about and "1 more one that X does not know" in about
    Clips.records = Clips.records[1:2]
    none = accuracy(Clips(), "acc", "seen", "X", faceapi.CLASSES)
    assert not none.samples and "that X knows" in none.reasons["acc"]
