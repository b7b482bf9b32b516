"""The one reader of label maps: files, images of Pillow and arrays, by the rules of ``fastdet miou``.

An image library shows what an image looks like, and a label map is numbers: 4-bit grey comes out times 17, a palette
image as the colours or as numbers that a quantiser chose, a mask as 0 and 255. This reader gives the class numbers, and
an error where a number or a colour means nothing.
"""

from fastdet._files.errors import FormatError
from fastdet.label_maps.reader import read_label_map

__all__ = ["FormatError", "read_label_map"]
