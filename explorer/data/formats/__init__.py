"""Common parts of data sets: readers of file formats, downloads, and the preparation of images and text."""
