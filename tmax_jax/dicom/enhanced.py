"""Objects of many frames: enhanced MR of any vendor, converted legacy MR, parametric maps.

What holds for a frame is merged from three places: the object, its shared functional groups, the frame's own. Then it
reads like a classic image.
"""

import dataclasses

from tmax_jax.dicom.elements import Elements, Header
from tmax_jax.dicom.frame import make_frame
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, Object
from tmax_jax.dicom.tags import KEYWORDS

_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_MERGED = (  # functional groups, each a sequence of one item
    "FrameContentSequence",
    "TemporalPositionSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRImageFrameTypeSequence",
    "ParametricMapFrameTypeSequence",
    "MRDiffusionSequence",
    "MRArterialSpinLabelingSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
_OF_PHILIPS = ("PhilipsLabel",)  # all that is taken from its private copy of the classic header


def read_enhanced(header: Header, found: Object) -> list[Frame]:
    """Reads the frames of an object.

    Args:
      header: of the object.
      found: the object.

    Returns:
      The frames in the object's order.

    Raises:
      DamagedError: functional groups or pixels that are not there.
    """
    groups = header.items("PerFrameFunctionalGroupsSequence")
    number = int(header.number("NumberOfFrames") or 0)
    if not groups or number != len(groups):
        raise DamagedError(f"{found.name}: NumberOfFrames is {number}, it describes {len(groups)}")
    kind = "parametric map" if header.text("SOPClassUID") == _PARAMETRIC_MAP else "enhanced"
    found = dataclasses.replace(found, kind=kind)
    common = {**header.elements}
    for shared in header.items("SharedFunctionalGroupsSequence"):
        common |= _merge(shared)
    dimensions = tuple(
        KEYWORDS.get(tag, f"({tag >> 16:04X},{tag & 0xFFFF:04X})")
        for item in header.items("DimensionIndexSequence")
        for tag in item.tags("DimensionIndexPointer")[:1]
    )
    offset = int(header.number("ConcatenationFrameOffsetNumber") or 0)  # of a part of an object in several files
    frames = []
    for index, group in enumerate(groups):
        merged = Header({**common, **_merge(group)}, header.endian)
        try:
            frame = make_frame(merged, found, index=index, frames=number)
        except DicomError as error:
            raise type(error)(str(error).replace(":", f" frame {index + 1}:", 1)) from error
        frames.append(frame._replace(dimensions=dimensions, frame_number=offset + index + 1))
    return frames


def _merge(group: Header) -> Elements:
    """Lifts what a frame's functional groups hold to one level."""
    merged: Elements = {}
    for keyword in _MERGED:
        for item in group.items(keyword)[:1]:
            merged |= item.elements
    mappings = {tag: value for tag, value in group.elements.items() if isinstance(value, list)}
    merged |= {tag: value for tag, value in mappings.items() if KEYWORDS[tag] == "RealWorldValueMappingSequence"}
    for item in group.items("PhilipsFrameSequence")[:1]:
        merged |= {tag: value for tag, value in item.elements.items() if KEYWORDS[tag] in _OF_PHILIPS}
    return merged
