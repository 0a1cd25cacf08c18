"""JPEG Extended (Process 2 and 4) with 12 bits, by GDCM, as a plugin of pydicom's decoders, whose own leaves it out."""

from typing import Any

import gdcm
from pydicom.uid import JPEGExtended12Bit

LABEL = "noctis"
DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm>=3.0.10",)}


def is_available(uid: str) -> bool:
    return uid in DECODER_DEPENDENCIES


def install() -> None:
    """Have pydicom try it where its own plugins gave up."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(JPEGExtended12Bit)
    if LABEL not in decoder.available_plugins:
        decoder.add_plugin(LABEL, (__name__, "decode_frame"))


def decode_frame(source: bytes, runner: Any) -> bytes:
    """One encoded frame into its samples, little endian."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))))
    stored = runner.bits_stored
    image.SetPixelFormat(
        gdcm.PixelFormat(
            runner.samples_per_pixel, runner.bits_allocated, stored, stored - 1, runner.pixel_representation
        )
    )
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))  # a char*, given as str
