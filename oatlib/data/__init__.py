"""Data sets: images with labels, split into training, validation and test parts.

* load: `load_data`, every set by its name.
* splits: `Split`, `Data`, and how images are divided.
* shapes: the built-in world and its best possible frontier.
* scenes: the parts of its images, and what an attack does to each of them.
* image_files, folders, tiny_imagenet: which image files of a folder have which label.
* decode, pixel_cache: their pixels, decoded or kept from an earlier time.
"""
