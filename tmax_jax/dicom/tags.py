"""Which elements of a header are wanted: public ones by their keywords, private ones by names of this project."""

from pydicom.datadict import dictionary_VR, tag_for_keyword

_PUBLIC = """
TransferSyntaxUID SpecificCharacterSet SOPClassUID PatientID StudyInstanceUID SeriesInstanceUID SOPInstanceUID
SeriesNumber SeriesDescription Manufacturer ManufacturerModelName Modality ImageType FrameType ContentLabel
RescaleType PhotometricInterpretation InstanceNumber TemporalPositionIdentifier TemporalPositionIndex
NumberOfTemporalPositions AcquisitionNumber FrameAcquisitionNumber TriggerTime TemporalResolution EchoTime
EffectiveEchoTime RepetitionTime FlipAngle MagneticFieldStrength SliceThickness SpacingBetweenSlices PixelPaddingValue
DiffusionBValue ComplexImageComponent ASLContext Rows Columns NumberOfFrames ImageOrientationPatient
ImagePositionPatient PixelSpacing SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation RescaleSlope
RescaleIntercept AcquisitionDate AcquisitionTime AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime
RealWorldValueMappingSequence RealWorldValueSlope RealWorldValueIntercept MeasurementUnitsCodeSequence
QuantityDefinitionSequence ConceptCodeSequence ConceptNameCodeSequence CodeValue CodeMeaning LUTLabel
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence FrameContentSequence PlanePositionSequence
PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence MREchoSequence
MRTimingAndRelatedParametersSequence MRImageFrameTypeSequence ParametricMapFrameTypeSequence MRDiffusionSequence
MRArterialSpinLabelingSequence UnassignedSharedConvertedAttributesSequence
UnassignedPerFrameConvertedAttributesSequence StackID InStackPositionNumber DimensionIndexValues
DimensionIndexSequence DimensionIndexPointer NumberOfSlices ConcatenationFrameOffsetNumber
TemporalPositionSequence TemporalPositionTimeOffset
"""
_PRIVATE = {  # by names of this project; None of them is in every file of its vendor
    "GESlices": (0x0021104F, "SS"),  # how many locations the scanner planned
    "GEImageKind": (0x0043102F, "SS"),  # 0 magnitude, 1 phase, 2 real, 3 imaginary
    "PhilipsSlices": (0x20011018, "SL"),
    "PhilipsBValue": (0x20011003, "FL"),
    "PhilipsLabel": (0x20051429, "CS"),  # label or control image of arterial spin labelling
    "PhilipsFrameSequence": (0x2005140F, "SQ"),
    "SiemensMosaicImages": (0x0019100A, "US"),
    "SiemensBValue": (0x0019100C, "IS"),
    "SiemensCreator0": (0x00290010, "LO"),
    "SiemensCreator1": (0x00290011, "LO"),
    "SiemensCreator2": (0x00290012, "LO"),
    "SiemensHeader0": (0x00291010, "OB"),
    "SiemensHeader1": (0x00291110, "OB"),
    "SiemensHeader2": (0x00291210, "OB"),
    "UIHBValue": (0x00651009, "FD"),
    "UIHGridImages": (0x00651050, "DS"),
    "UIHFrameSequence": (0x00651051, "SQ"),
}


def _public_tags() -> dict[str, tuple[int, str]]:
    tags = {}
    for keyword in _PUBLIC.split():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        tags[keyword] = (int(tag), dictionary_VR(tag).split()[0])
    return tags


WANTED: dict[str, tuple[int, str]] = {**_public_tags(), **_PRIVATE}  # tag and value representation, by keyword
KEYWORDS = {tag: keyword for keyword, (tag, _) in WANTED.items()}
