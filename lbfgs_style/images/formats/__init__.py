"""What each image file format declares, holds and allows.

avif, bmp, color_codes, embedding, output, png_color, registry, tiff_declared, tiff_parts,
tiff_pixels
"""
