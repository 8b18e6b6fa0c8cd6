"""Image classification by pixels: CIFAR-10 in gray, or a stand-in from a package.

Files in import order:

grayscale        gray values as the benchmark has them, and padding to 32 x 32 pixels
cifar            the published images, from TFDS or from the original archive
image_stand_ins  clothes and digits from packages, with their floors
linear_baseline  the accuracy of a linear classifier of pixels
image_config     the configuration, and its splits as arrays
"""

from experiments.data.image.cifar import cifar_archive, gray_rows, published_images
from experiments.data.image.grayscale import pad_to_square, to_gray
from experiments.data.image.image_config import ImageConfig
from experiments.data.image.image_stand_ins import STAND_INS, ImageStandIn, LabeledImages, read_stand_in
from experiments.data.image.linear_baseline import linear_accuracy

__all__ = [
    "STAND_INS",
    "ImageConfig",
    "ImageStandIn",
    "LabeledImages",
    "cifar_archive",
    "gray_rows",
    "linear_accuracy",
    "pad_to_square",
    "published_images",
    "read_stand_in",
    "to_gray",
]
