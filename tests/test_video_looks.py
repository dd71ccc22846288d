"""How a video is shown: the shape of its pixels, its colours, its orientation, through the whole house.

Colours are computed from the stored planes by the formulas of ITU-R BT.601 and BT.709.
"""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
from fractions import Fraction

import av
import numpy as np
import pytest
from in_process import anonymize, recover
from rendered_video import RATE
from test_video import frames_of

from fastreid_privacy.manifest import read_manifest
from fastreid_privacy.video.decoding import libav_said
from fastreid_privacy.video.stream import Frame, VideoFormat, read_frames, video_format
from fastreid_privacy.video.writer import VideoWriter

assert fastreid_privacy

COLOURS = [(0, 255, 0), (255, 0, 0), (0, 0, 255), (200, 120, 40), (255, 255, 255), (0, 0, 0)]
WEIGHTS = {
    1: (0.2126, 0.0722),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
}  # of red and blue
HD, TV = (720, 1280), (96, 144)
LIMITED, FULL = 1, 2


def stripes(size):
    """One of COLOURS in each sixth of the width."""
    return np.repeat(np.array(COLOURS, np.uint8), size[1] // 6, axis=0)[None].repeat(size[0], axis=0)


def padded(picture, size):
    """The last column repeated, for widths that six does not divide."""
    return np.pad(picture, ((0, 0), (0, size[1] - picture.shape[1]), (0, 0)), mode="edge")


def planes(picture, matrix, full):
    """Y, U and V of RGB, uint8, each of the picture's size."""
    red, blue = WEIGHTS[matrix]
    rgb = picture.astype(float) / 255
    y = rgb @ (red, 1 - red - blue, blue)
    u, v = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
    luma, chroma, black = (255, 255, 0) if full else (219, 224, 16)
    found = y * luma + black, u * chroma + 128, v * chroma + 128
    return [np.clip(np.round(plane), 0, 255).astype(np.uint8) for plane in found]


def rgb_of(y, u, v, matrix, full):
    """RGB of three levels."""
    red, blue = WEIGHTS[matrix]
    luma, chroma, black = (255, 255, 0) if full else (219, 224, 16)
    y, u, v = (y - black) / luma, (u - 128) / chroma, (v - 128) / chroma
    r, b = y + (2 - 2 * red) * v, y + (2 - 2 * blue) * u
    return np.clip(np.round(255 * np.array([r, (y - red * r - blue * b) / (1 - red - blue), b])), 0, 255)


def middles(size):
    """Where the middle of each stripe is."""
    return [round((number + 0.5) * (size[1] // 6)) for number in range(6)]


def video(path, picture, matrix=None, full=False, tags=(), aspect=None, turn=None, frames=2):
    """A lossless H.264 video of one picture, stored by the formulas; ``matrix`` None: RGB is left to libav.

    Args:
        tags: number of the matrix, the range, the primaries and the transfer that the file names.
        turn: arguments of libav's display matrix.
    """
    kind = "yuv444p"
    data = np.stack(planes(picture, matrix or 6, full))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], kind
        context = stream.codec_context
        if tags:
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = tags
        if aspect:
            context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(**turn)
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(data, format=kind)
            if tags:
                frame.colorspace, frame.color_range = tags[:2]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def written(path, picture, codec, **about):
    """A video by the house's own writer."""
    height, width = picture.shape[:2]
    with path.open("wb") as file:
        writer = VideoWriter(file, VideoFormat(width, height, RATE, 1 / RATE, **about), codec, 1)
        for number in range(2):
            writer.write(Frame(number + 1, number, picture))
        writer.close()
    return writer


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("size", "matrix"), [(HD, 1), (TV, 6), (HD, 6), (TV, 1)])
def test_colours_are_read_by_the_matrix_and_range_that_the_file_names(tmp_path, size, matrix, full):
    picture = padded(stripes(size), size)
    path = video(
        tmp_path / "v.mp4", picture, matrix, full, (matrix, FULL if full else LIMITED, matrix, matrix)
    )
    frame = next(read_frames(path))
    assert np.abs(frame.pixels.astype(int) - picture).max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [(HD, 1), (TV, 6), ((592, 96), 1), ((576, 96), 6)])
def test_colours_of_a_file_that_names_no_matrix_are_those_of_its_television(tmp_path, size, matrix):
    picture = padded(stripes(size), size)
    frame = next(read_frames(video(tmp_path / "v.mp4", picture, matrix)))
    assert np.abs(frame.pixels.astype(int) - picture).max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [(HD, 1), (TV, 6), ((97, 145), 6)])
def test_mp4_says_which_colours_it_has_and_players_see_them(tmp_path, size, matrix):
    picture = padded(stripes(size), size)
    writer = written(tmp_path / "v.mp4", picture, "h264", primaries=9, transfer=16)
    with av.open(str(tmp_path / "v.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (matrix, LIMITED)
    assert (frame.color_primaries, frame.color_trc) == (9, 16)
    y, u, v = (np.asarray(plane) for plane in frame_planes(frame))
    half = y.shape[0] // u.shape[0]
    shown = []
    for expected, column in zip(COLOURS, middles(size), strict=True):
        levels = y[40, column], u[40 // half, column // half], v[40 // half, column // half]
        shown.append(rgb_of(*map(float, levels), matrix, False))
        assert np.abs(shown[-1] - expected).max() <= 4
    read = next(read_frames(tmp_path / "v.mp4")).pixels
    assert np.abs(read[40, middles(size)] - np.array(shown)).max() <= 3
    # half of the colours' samples are lost at the edges of stripes, nothing of the picture as a whole
    assert writer.quality.figures()["frames"] > 24


def frame_planes(frame):
    """The planes of a frame without the padding of their lines."""
    for plane in frame.planes:
        yield np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def test_stored_quality_is_that_of_the_picture_that_a_player_shows(tmp_path):
    """Of one colour nothing is lost: figures of a wrong matrix would say 20 dB."""
    picture = np.full((*HD, 3), (30, 180, 60), np.uint8)
    figures = written(tmp_path / "v.mp4", picture, "h264").quality.figures()
    shown = next(read_frames(tmp_path / "v.mp4")).pixels
    error = np.square(shown.astype(float) - picture).mean()
    assert figures["frames"] is None or figures["frames"] == pytest.approx(10 * np.log10(255**2 / error))
    assert error <= 2


def test_mkv_keeps_primaries_and_transfer(tmp_path):
    picture = padded(stripes(TV), TV)
    written(tmp_path / "v.mkv", picture, "ffv1", primaries=9, transfer=16)
    about = video_format(tmp_path / "v.mkv")
    assert (about.primaries, about.transfer) == (9, 16)
    assert np.array_equal(next(read_frames(tmp_path / "v.mkv")).pixels, picture)


@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(12, 11)])
@pytest.mark.parametrize("output", ["mkv", "mp4"])
def test_the_shape_of_pixels_is_kept_through_protection_and_recovery(tmp_path, weights, output, aspect):
    size = (144, 176)
    picture = padded(stripes(size), size)
    raw = video(tmp_path / "raw.mp4", picture, aspect=aspect)
    (tmp_path / "boxes.txt").write_text("1,1,5,5,60,120")
    words = ["--weights", weights, "--input", raw, "--boxes", tmp_path / "boxes.txt", "--format", output]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    assert recover("--key", weights, "--input", tmp_path / "out", "--output", tmp_path / "again") == 0
    for path in (tmp_path / "out" / f"raw.{output}", tmp_path / "again" / "raw.mkv"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Matroska keeps the width on the screen in whole pixels
            assert stream.sample_aspect_ratio == pytest.approx(aspect, abs=0.6 / size[1])
            assert "title" not in stream.metadata
            next(container.decode(video=0))
    # a whole file: libav checks the sum of its head
    options = {"err_detect": "crccheck+explode"}
    with libav_said() as said, av.open(str(tmp_path / "again" / "raw.mkv"), options=options) as container:
        assert len(list(container.decode(video=0))) == 2
    assert not said


def test_pixels_of_no_camera_are_square(tmp_path):
    path = video(tmp_path / "v.mp4", padded(stripes(TV), TV), aspect=Fraction(200, 1))
    assert video_format(path).aspect is None


@pytest.fixture(scope="module")
def weights(small_run):
    return small_run / "model_best.pth"


TURNS = [{"degrees": angle, "hflip": mirrored} for angle in (0, 90, 180, 270) for mirrored in (False, True)]


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: f"{turn['degrees']}{'m' * turn['hflip']}")
def test_all_eight_orientations_are_shown_upright(tmp_path, turn):
    """Four colours in the corners of a wide picture; the matrix by its definition, pixel by pixel."""
    picture = np.zeros((64, 96, 3), np.uint8)
    corners = {(0, 0): COLOURS[0], (0, 1): COLOURS[1], (1, 0): COLOURS[2], (1, 1): COLOURS[4]}
    for (row, column), colour in corners.items():
        picture[32 * row : 32 * row + 32, 48 * column : 48 * column + 48] = colour
    path = video(tmp_path / "v.mp4", picture, 6, aspect=Fraction(4, 3), turn=turn)
    with av.open(str(path)) as container:
        matrix = next(container.decode(video=0)).side_data.get("DISPLAYMATRIX")
    values = np.frombuffer(bytes(matrix), "<i4").reshape(3, 3) if matrix else np.eye(3)
    a, b, c, d = (float(np.sign(values[at])) for at in ((0, 0), (0, 1), (1, 0), (1, 1)))
    y, x = np.mgrid[:64, :96]
    across, down = a * x + c * y, b * x + d * y
    across, down = (across - across.min()).astype(int), (down - down.min()).astype(int)
    expected = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    expected[down, across] = picture[y, x]
    frame, about = next(read_frames(path)), video_format(path)
    assert frame.pixels.shape == expected.shape == (about.height, about.width, 3)
    assert np.abs(frame.pixels.astype(int) - expected).max() <= 3
    assert all(step > 0 for step in frame.pixels.strides)  # torch takes no others, for a detector
    assert about.aspect == (Fraction(3, 4) if turn["degrees"] % 180 else Fraction(4, 3))


def test_boxes_of_a_mirrored_video_lie_on_the_picture_that_is_shown(tmp_path):
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[10:90, 50:90] = 255
    raw = video(tmp_path / "raw.mp4", picture, turn={"degrees": 0, "hflip": True})
    (tmp_path / "boxes.txt").write_text("1,1,8,12,38,78\n2,1,8,12,38,78")  # a person on the left, as shown
    words = ["--method", "mask", "--input", raw, "--boxes", tmp_path / "boxes.txt"]
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    assert not (frames_of(tmp_path / "out" / "raw.mkv") > 200).all(axis=3).mean() > 0.02
    (entry,) = read_manifest(tmp_path / "out" / "manifest.jsonl").entries.values()
    assert [row[1] for row in entry["boxes"]] == [7, 7]
