"""Pictures converted small are what the whole picture is, shrunk, whatever the file says of its colours and its turn."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from skimage.data import astronaut

from emo_lightning.media.lazy_frame import DecodedPicture, Picture, halvings
from emo_lightning.media.video_reader import iter_frames, iter_pictures

SIZE = (960, 720)


def large() -> np.ndarray:
    return cv2.resize(astronaut(), SIZE, interpolation=cv2.INTER_CUBIC)


def decoded(image: np.ndarray, pixels: str, space: Colorspace, spans: ColorRange) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    yuv = VideoReformatter().reformat(
        frame,
        format=pixels,
        dst_colorspace=space,
        src_color_range=ColorRange.JPEG,
        dst_color_range=spans,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
    )
    yuv.colorspace, yuv.color_range = space, spans
    return yuv


class Plain:
    """Stands for a stream of square pixels whose whole pictures are not asked for."""

    @staticmethod
    def width(frame: av.VideoFrame) -> int:
        return frame.width


@pytest.mark.parametrize("level", (1, 2, 3))
@pytest.mark.parametrize(
    ("pixels", "spans"), (("yuv420p", ColorRange.MPEG), ("yuvj420p", ColorRange.JPEG))
)
@pytest.mark.parametrize("space", (Colorspace.ITU709, Colorspace.ITU601))
def test_colours_are_those_of_the_picture_at_every_size(level, pixels, spans, space):
    picture = DecodedPicture(decoded(large(), pixels, space, spans), Plain())
    expected = cv2.resize(
        large(), (SIZE[0] >> level, SIZE[1] >> level), interpolation=cv2.INTER_AREA
    ).astype(float)
    change = picture.rgb(level) - expected
    assert np.abs(change.mean((0, 1))).max() < 1.2 and np.abs(change).mean() < 1.5
    few = picture.sparse(15).astype(float)
    assert few.shape == (48, 64, 3) and np.abs((few - large()[::15, ::15]).mean((0, 1))).max() < 2


def test_small_and_large_agree_in_a_file_that_is_turned(tmp_path):
    for name, turn in (("a.mp4", 0), ("b.mp4", -90)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            if turn:
                stream.set_display_rotation(turn)
            container.mux(
                stream.encode(decoded(large(), "yuv420p", Colorspace.ITU709, ColorRange.MPEG))
            )
            container.mux(stream.encode(None))
    for name, turns in (("a.mp4", 0), ("b.mp4", 1)):
        for picture, whole in zip(
            iter_pictures(tmp_path / name), iter_frames(tmp_path / name), strict=True
        ):
            np.testing.assert_array_equal(picture.rgb(), whole)
            assert picture.shape == whole.shape[:2] == (SIZE[::-1] if turns == 0 else SIZE)
            half = cv2.resize(whole, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(
                float
            )
            # The whole picture takes the fast conversion, which is a grey level too dark.
            assert np.abs(picture.rgb(1) - half).mean() < 2
            few, lying = np.rot90(picture.sparse(8), turns).astype(float), np.rot90(whole, turns)
            assert np.abs(few - lying[::8, ::8]).mean() < 4


def test_other_formats_are_halved_from_the_whole_picture():
    picture = Picture(large())
    np.testing.assert_array_equal(
        picture.rgb(1), cv2.resize(large(), (480, 360), interpolation=cv2.INTER_AREA)
    )
    np.testing.assert_array_equal(picture.sparse(7), large()[::7, ::7])
    assert picture.rgb(2) is picture.rgb(2)


def test_a_side_that_cannot_be_halved_is_refused():
    assert [halvings(shape) for shape in ((1080, 1920), (1080, 1366), (1081, 1920), (64, 64))] == [
        3,
        1,
        0,
        3,
    ]
    with pytest.raises(ValueError, match="cannot be halved"):
        Picture(np.zeros((1080, 1366, 3), np.uint8)).rgb(2)
