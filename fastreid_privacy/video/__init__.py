"""Videos in and out: people in the boxes of each frame are protected and put back, and recovered from there.

The way of one frame::

    decoding        a video file opened: the frames that a player shows, and what of it is damage
    pixels          a frame of libav as an upright RGB picture, and back: matrix, range, orientation
    stream          the frames as upright RGB frames with their times
    writer          frames as a video file: FFV1 or H.264
    matroska        the shape of pixels, in a Matroska file
    people          who is where in a frame
    boxes           where people are: a MOT file, or the boxes that a protected video's manifest keeps
    detector        where people are: a torchvision detector with the user's weights
    onnx_detector   where people are: a detector of any library, as an ONNX graph
    hog             where people are: OpenCV's own detector, which needs no weights and is weak
    tracker         a detector's boxes over time: smoothed, carried over missed frames, numbered
    placing         frames get their people, of a file or of a detector and the tracker
    chosen          who of them is protected: by time, part of the picture, number
    regions         boxes cut out, sent through a network at its own size, and put back
    sound           the sound of the raw video, copied
    run             the three together: a video that appears whole, and its manifest
    protecting      frames → protected frames, with a record of each
    records         the line of the manifest, boxes for a person to correct, the audit log
    protect         raw → protected
    live_input      a camera or an address: frames, never far behind
    live            a live input → protected videos, as it comes
    preview         a sheet of protected frames, to look at
    recover         protected → recovered, compared with the raw video if it is there
    detection       how many of the people a detector finds, before and after protection

A protected video is a collection of one file: its folder has a manifest, whose line also has the boxes.
"""

from .boxes import MotBoxes
from .chosen import Chosen
from .detection import measure_detection
from .detector import PersonDetector
from .hog import HogDetector
from .onnx_detector import OnnxDetector
from .placing import Placing
from .protect import protect_video
from .recover import recover_video

__all__ = [
    "Chosen",
    "HogDetector",
    "MotBoxes",
    "OnnxDetector",
    "PersonDetector",
    "Placing",
    "measure_detection",
    "protect_video",
    "recover_video",
]
