"""Find the sizes of a data set's images, which YOLO's fractions need."""

from __future__ import annotations

from pathlib import Path

from fastdet._files.data_set import IMAGES, stem
from fastdet._files.errors import ChoiceError, FormatError, one_line
from fastdet._files.opening import open_file


def sizes_of(labels: Path, images: Path | None, size: tuple[int, int] | None) -> dict[str, tuple[int, int]]:
    """Width and height of each image by name without suffix.

    They are ``size`` for all, or come from the headers of the files in ``images``, or of those in the folder that
    stands beside the labels in YOLO's usual layout, or of those among the labels, as darknet has them.
    """
    if size is not None:
        files = (child for child in labels.iterdir() if child.suffix.lower() == ".txt" and child.stem != "classes")
        return {stem(child.stem): size for child in files}
    folder = images or _beside(labels)
    if folder is None:
        hint = "give --images DIR or --image-size WIDTHxHEIGHT"
        raise FormatError(f"{labels}: YOLO boxes are fractions of the image size, which is not known: {hint}")
    if not folder.is_dir():
        raise ChoiceError("images", f"must be a folder, got {folder}")
    sizes: dict[str, tuple[int, int]] = {}
    for child in sorted(folder.iterdir()):
        if child.suffix.lower() in IMAGES:
            name = stem(child.name)
            if name in sizes:
                raise FormatError(f"{child}: expected one image of that name, got another suffix as well")
            sizes[name] = _picture_size(child)
    if not sizes:
        raise FormatError(f"{folder}: expected a folder of images, got none")
    return sizes


def _beside(labels: Path) -> Path | None:
    """The folder of images: the path with ``images`` instead of ``labels``, or that of the labels itself."""
    parts = list(labels.absolute().parts)
    for at in range(len(parts) - 1, 0, -1):
        if parts[at] == "labels":
            folder = Path(*parts[:at], "images", *parts[at + 1 :])
            if folder.is_dir():
                return folder
            break
    return labels if any(child.suffix.lower() in IMAGES for child in labels.iterdir()) else None


def _picture_size(path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with open_file(path) as file, Image.open(file) as picture:
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # Exif: shown with width and height swapped
            width, height = picture.size
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: expected an image, got {one_line(error)}") from None
    return (height, width) if turned else (width, height)
