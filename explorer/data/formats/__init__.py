"""What data sets share: readers of file formats, downloads, and the preparation of images and of text."""
