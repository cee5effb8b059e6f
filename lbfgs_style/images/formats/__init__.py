"""What each image file format declares, holds and allows.

- base: `Format`, which says what a format is, and `Metadata`.
- registry: the table of the formats, and the format of a file.
- png, jpeg, webp, avif, heic, tiff, bmp: one module a format; plain: those that are only read.
- tiff_declared, tiff_parts, tiff_pixels: how TIFF files are decoded that OpenCV misreads; tiff_tiles:
  how large ones are written.
- color_codes: colours by code or chromaticities, as profiles.
- foreign: descriptions of files that are not readable images, with the remedy.
"""
